//! Kamailio's part: registrar and record-routing stateful proxy, set up for speed.

use crate::server::{ADDRESS, DOMAIN};

/// Its configuration.
pub fn config(digest: bool) -> String {
    let (register, invite) = if digest { (REGISTER, INVITE) } else { ("", "") };
    format!(
        r#"#!KAMAILIO
debug=0
log_stderror=yes
children=2
auto_aliases=no
dns=no
rev_dns=no
disable_tcp=yes
alias={DOMAIN}
listen=udp:{ADDRESS}

loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("usrloc", "db_mode", 0)
modparam("usrloc", "hash_size", 14)
modparam("registrar", "max_contacts", 16)

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("OPTIONS") && uri == myself) {{ sl_send_reply("200", "OK"); exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    if (has_totag()) {{
        if (loose_route()) {{ t_relay(); exit; }}
        if (is_method("ACK")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
        sl_send_reply("404", "Not here");
        exit;
    }}
    t_check_trans();
    if (is_method("REGISTER")) {{ {register} save("location"); exit; }}
    if (is_method("INVITE")) {{ {invite} record_route(); }}
    if (!lookup("location")) {{ sl_send_reply("404", "Not Found"); exit; }}
    t_relay();
}}
"#
    )
}

const REGISTER: &str = r#"if (!pv_www_authenticate("bench.example", "secret", "0")) { auth_challenge("bench.example", "1"); exit; }"#;
const INVITE: &str = r#"if (!pv_proxy_authenticate("bench.example", "secret", "0")) { auth_challenge("bench.example", "1"); exit; } consume_credentials();"#;
