//! Another operator over TLS: Kamailio as the peer, calls both ways, certificates of both checked.

use super::dns::{Resolver, dnsmasq};
use super::forking::{ANSWERED, PICK_UP, REGISTER, finished, sipp};
use crate::kamailio::Kamailio;
use crate::lab::{CORE, EDGE_INSIDE, Host, output};
use crate::process::Process;
use crate::scene::Bench;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

const FAR: &[&str] = &[
    "--naptr-record=far.example,10,10,s,SIPS+D2T,,_sips._tcp.far.example",
    "--srv-host=_sips._tcp.far.example,edge.far.example,5061,1,0",
    "--host-record=edge.far.example,10.9.0.1",
];

/// A call in each direction.
pub fn tls(bench: &Bench<'_>) -> Result<String> {
    certificates(bench.dir)?;
    let resolver = |host| Resolver::new(&bench.lab.namespace(host), CORE);
    let _resolvers = [resolver(Host::Core)?, resolver(Host::Edge)?];
    let _dnsmasq = dnsmasq(bench, FAR)?;
    let kamailio = Kamailio::with_config(bench.lab, bench.dir, Host::Edge, EDGE_INSIDE, &config(bench.dir)?)?;
    let file = |name: &str| bench.dir.join(name).to_string_lossy().into_owned();
    let (cert, key, roots) = (file("op.example.pem"), file("op.example.key"), file("ca.pem"));
    let tls = format!("{CORE}:5061");
    let options =
        ["--tls", &tls, "--cert", &cert, "--key", &key, "--tls-ca", &roots, "--tls-clients", "optional"];
    let policy = "[policy]\ntrusted = [\"far.example\"]\n";
    let exchange = bench.binary.exchange(bench.lab, bench.dir, policy, &options)?;
    for user in ["caller", "near"] {
        bench.binary.subscriber(exchange.data(), user, "secret")?;
    }
    out(bench).context("a call to the peer")?;
    back(bench).context("a call from the peer")?;
    ensure!(kamailio.logged("peer: INVITE over TLS"), "no INVITE has reached Kamailio over TLS");
    Ok("a call each way over TLS, both ends' certificates checked; the peer trusted by its name".to_owned())
}

/// A subscriber calls somebody at far.example.
fn out(bench: &Bench<'_>) -> Result<()> {
    let callee = sipp(bench, Host::InsideA, "5071", "far-callee", PICK_UP, "far", None, "1")?;
    let caller = ANSWERED.replace("[field2]@op.example", "[field2]@far.example");
    finished(sipp(bench, Host::InsideB, "5080", "near-caller", &caller, "far", None, "1")?)?;
    finished(callee)
}

/// Somebody at far.example calls a subscriber.
fn back(bench: &Bench<'_>) -> Result<()> {
    let contact = Some("<sip:near@10.9.0.22:5073>");
    finished(sipp(bench, Host::InsideB, "5070", "near-register", REGISTER, "near", contact, "1")?)?;
    let callee = sipp(bench, Host::InsideB, "5073", "near-callee", PICK_UP, "near", None, "1")?;
    let scenario = include_str!("../../scenarios/caller.xml")
        .replace("[user]@[domain]", "somebody@far.example")
        .replace("[other]@[domain]", "near@op.example");
    let file = bench.dir.join("far-caller.xml");
    fs::write(&file, scenario)?;
    let (file, server) = (file.to_string_lossy(), format!("{EDGE_INSIDE}:5060"));
    let args = [
        &*server,
        "-sf",
        &*file,
        "-i",
        "10.9.0.21",
        "-p",
        "5080",
        "-m",
        "1",
        "-nostdin",
        "-key",
        "user",
        "far",
    ];
    finished(Process::start(bench.lab, Host::InsideA, bench.dir, "far-caller", "sipp", &args)?)?;
    finished(callee)
}

/// A root and two certificates, by OpenSSL. The peer's own host is named as well: its Record-Route has that name,
/// which is what a later request's connection is checked against (RFC 5922 §7.2).
fn certificates(dir: &Path) -> Result<()> {
    let openssl = |args: &str| output(Command::new("openssl").current_dir(dir).args(args.split(' ')));
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=lab -keyout ca.key -out ca.pem",
    )?;
    for name in ["op.example", "far.example"] {
        fs::write(dir.join("names"), format!("subjectAltName=DNS:{name},DNS:edge.{name}\n"))?;
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ))?;
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out {name}.pem"
        ))?;
    }
    Ok(())
}

fn config(dir: &Path) -> Result<String> {
    let folder = dir.display();
    let files = format!(
        "private_key = {folder}/far.example.key\ncertificate = {folder}/far.example.pem\nca_list = {folder}/ca.pem\n"
    );
    let tls = format!(
        "[server:default]\nmethod = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = no\n{files}\
         [client:default]\nmethod = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\n{files}"
    );
    let file = dir.join("tls.cfg");
    fs::write(&file, tls)?;
    Ok(format!(
        r#"#!KAMAILIO
debug=2
log_stderror=yes
children=2
auto_aliases=no
dns=no
rev_dns=no
alias=far.example
enable_tls=yes
listen=udp:{EDGE_INSIDE}:5060
listen=tls:{EDGE_INSIDE}:5061 advertise edge.far.example:5061

loadmodule "tls.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
modparam("tls", "config", "{file}")

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    if (has_totag()) {{
        if (loose_route()) {{ t_relay(); exit; }}
        if (is_method("ACK")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
        sl_send_reply("404", "Not here");
        exit;
    }}
    t_check_trans();
    record_route();
    if (proto == TLS) {{
        xlog("L_INFO", "peer: $rm over TLS from $si\n");
        $du = "sip:10.9.0.21:5071";
    }} else {{
        $du = "sip:{CORE}:5061;transport=tls";
    }}
    t_relay();
}}
"#,
        file = file.display()
    ))
}
