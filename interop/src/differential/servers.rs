//! The two servers, one after the other on the same address.

use super::{DOMAIN, SERVER};
use crate::causeway::Binary;
use crate::process::{Mark, PATIENCE, Process, until};
use anyhow::{Context, Result};
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Starts Kamailio as its own sample configuration has it: checks, digest for its users, registrar and
/// stateful record-routing proxy.
pub fn kamailio(dir: &Path) -> Result<Process> {
    let file = dir.join("kamailio.cfg");
    fs::write(&file, config())?;
    let mut command = Command::new("kamailio");
    command
        .args(["-DD", "-E", "-m", "64", "-M", "8", "-x", "fm", "-X", "fm", "-Y"])
        .arg(dir)
        .arg("-f")
        .arg(file);
    ready(Process::spawn(command, dir, "kamailio")?)
}

/// Starts our exchange with these subscribers, password `secret`.
pub fn causeway(binary: &Binary, dir: &Path, users: &[String]) -> Result<Process> {
    let data = dir.join("causeway");
    fs::create_dir_all(&data)?;
    let lines = users.iter().map(|user| format!("sip:{user}@{DOMAIN},secret\n"));
    let list = dir.join("users.csv");
    fs::write(&list, std::iter::once("uri,password\n".to_owned()).chain(lines).collect::<String>())?;
    binary.import(&data, &list)?;
    let mut command = binary.command();
    command.args([
        "--log",
        "debug",
        "up",
        "--domain",
        DOMAIN,
        "--sip",
        SERVER,
        "--tunnel",
        "127.0.7.1:24443",
    ]);
    command.args(["--media", "127.0.7.1:20000-20099", "--ready-fd", "1", "--data"]).arg(data);
    let process = Process::spawn(command, dir, "causeway")?;
    process.wait("READY=1", Mark::default(), PATIENCE)?;
    ready(process)
}

/// Waits until it answers OPTIONS.
fn ready(process: Process) -> Result<Process> {
    let socket = UdpSocket::bind("127.0.7.9:5060")?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    until(PATIENCE, || {
        let options = format!(
            "OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.7.9:5060;branch=z9hG4bKr{}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:w@w.example>;tag=w\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: ready\r\n\
             CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
            std::process::id()
        );
        // Refused until it listens.
        let _ = socket.send_to(options.as_bytes(), SERVER);
        socket.recv(&mut [0; 4096]).context("no answer to OPTIONS; its log says why")?;
        Ok(())
    })?;
    Ok(process)
}

fn config() -> String {
    format!(
        r#"#!KAMAILIO
debug=2
log_stderror=yes
children=2
auto_aliases=no
alias={DOMAIN}
listen=udp:{SERVER}
disable_tcp=yes

loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "sanity.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("tm", "failure_reply_mode", 3)
modparam("tm", "fr_timer", 30000)
modparam("rr", "enable_full_lr", 0)
modparam("rr", "append_fromtag", 0)
modparam("registrar", "max_expires", 7200)
modparam("registrar", "max_contacts", 16)
modparam("registrar", "use_path", 1)
modparam("registrar", "path_mode", 1)
modparam("usrloc", "db_mode", 0)

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("OPTIONS") && uri == myself && $rU == $null) {{ sl_send_reply("200", "Keepalive"); exit; }}
    if (!sanity_check("17895", "7")) {{ exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ route(RELAY); }} exit; }}
    if (!is_method("ACK")) {{
        if (t_precheck_trans()) {{ t_check_trans(); exit; }}
        t_check_trans();
    }}
    route(WITHINDLG);
    remove_hf("Route");
    if (is_method("INVITE|SUBSCRIBE|REFER")) {{ record_route(); }}
    route(AUTH);
    if (uri != myself) {{ route(RELAY); exit; }}
    if (is_method("REGISTER")) {{ if (!save("location")) {{ sl_reply_error(); }} exit; }}
    if ($rU == $null) {{ sl_send_reply("484", "Address Incomplete"); exit; }}
    if (!lookup("location")) {{
        $var(rc) = $rc;
        t_newtran();
        if ($var(rc) == -2) {{ send_reply("405", "Method Not Allowed"); exit; }}
        send_reply("404", "Not Found");
        exit;
    }}
    route(RELAY);
}}

route[RELAY] {{ if (!t_relay()) {{ sl_reply_error(); }} exit; }}

route[WITHINDLG] {{
    if (!has_totag()) {{ return; }}
    if (loose_route()) {{ if (is_method("NOTIFY")) {{ record_route(); }} route(RELAY); exit; }}
    if (is_method("ACK")) {{ if (t_check_trans()) {{ route(RELAY); }} exit; }}
    sl_send_reply("404", "Not here");
    exit;
}}

route[AUTH] {{
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("{DOMAIN}", "secret", "0")) {{ auth_challenge("{DOMAIN}", "1"); exit; }}
        if ($au != $tU) {{ sl_send_reply("403", "Forbidden auth ID"); exit; }}
    }} else if (from_uri == myself) {{
        if (!pv_proxy_authenticate("{DOMAIN}", "secret", "0")) {{ auth_challenge("{DOMAIN}", "1"); exit; }}
        if ($au != $fU) {{ sl_send_reply("403", "Forbidden auth ID"); exit; }}
        consume_credentials();
    }}
    if (from_uri != myself && uri != myself) {{ sl_send_reply("403", "Not relaying"); exit; }}
}}
"#
    )
}
