//! Ten faults on the way to an operator, each named by `causeway doctor`.

use super::intercepted::{self, Inspector};
use super::ways_out::{PROXY_PORT, tinyproxy};
use crate::causeway::Causeway;
use crate::kamailio::DOMAIN;
use crate::lab::{Firewall, Host, TUNNEL, feed, output};
use crate::scene::{Bench, Side};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A second address of the operator's edge, where nothing listens at first.
const OTHER: &str = "203.0.113.12";
/// What a customer does not have.
const WRONG_PIN: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What the doctor is asked, and what it must say.
struct Fault<'a> {
    what: &'a str,
    args: Vec<&'a str>,
    step: &'a str,
    says: &'a str,
}

/// Faults one after the other, each mended before the next.
pub fn doctor(bench: &Bench<'_>) -> Result<String> {
    let Bench { lab, dir, binary, .. } = *bench;
    let up = binary.up(lab, dir)?;
    binary.subscriber(up.data(), Side::A.user(), "secret")?;
    let pin = up.pin()?;
    let [good, bad] = [("account.toml", "secret"), ("wrong.toml", "guessed")].map(|(name, password)| {
        let file = dir.join(name);
        let text = format!("uri = \"sip:{}@{DOMAIN}\"\npassword = \"{password}\"\n", Side::A.user());
        std::fs::write(&file, text).map(|()| file.to_string_lossy().into_owned())
    });
    let (good, bad) = (good?, bad?);
    lab.output(Host::Edge, "ip", &["addr", "add", &format!("{OTHER}/24"), "dev", "wan"])?;
    let result = faults(bench, &pin, &good, &bad);
    lab.output(Host::Edge, "ip", &["addr", "del", &format!("{OTHER}/24"), "dev", "wan"])?;
    result
}

fn faults(bench: &Bench<'_>, pin: &str, good: &str, bad: &str) -> Result<String> {
    let lab = bench.lab;
    let pinned = ["--contact", TUNNEL, "--pin", pin, "--account", good];
    let healthy = ask(bench, &[&pinned[..], &["--call"]].concat(), &[])?;
    ensure!(healthy["failed"].is_null(), "the control: nothing is wrong, and the doctor says {healthy:#}");

    let port = format!("{}:444", TUNNEL.trim_end_matches(":443"));
    let simple = [
        Fault {
            what: "name",
            args: vec!["--contact", "nowhere.invalid"],
            step: "name",
            says: "does not resolve",
        },
        Fault { what: "port closed", args: vec!["--contact", OTHER], step: "port", says: "refuses" },
        Fault { what: "firewall", args: vec!["--contact", &port], step: "port", says: "does not answer" },
        Fault {
            what: "pin",
            args: vec!["--contact", TUNNEL, "--pin", WRONG_PIN],
            step: "tls",
            says: "wrong pin",
        },
        Fault {
            what: "password",
            args: vec!["--contact", TUNNEL, "--pin", pin, "--account", bad],
            step: "account",
            says: "the password is wrong",
        },
    ];
    let mut named = Vec::new();
    for fault in simple {
        diagnose(bench, &fault, &[])?;
        named.push(fault.what.to_owned());
    }
    // Who guesses is slowed down for a while, and the next registration with him.
    std::thread::sleep(std::time::Duration::from_secs(4));
    let clock = Fault { what: "clock", args: pinned.to_vec(), step: "clock", says: "behind the operator's" };
    diagnose(bench, &clock, &["faketime", "-f", "-3h"])?;

    feed(
        lab.on(Host::Edge, "nft").args(["-f", "-"]),
        "table inet deaf {\n chain in {\n type filter hook input priority 0;\n udp dport 20000-20999 drop\n }\n}\n",
    )?;
    let media = Fault {
        what: "media",
        args: [&pinned[..], &["--call"]].concat(),
        step: "media",
        says: "no media comes back",
    };
    let result = diagnose(bench, &media, &[]);
    lab.output(Host::Edge, "nft", &["delete", "table", "inet", "deaf"])?;
    result?;

    let expired = expired(bench)?;
    let certificate = Fault {
        what: "expired",
        args: vec!["--contact", OTHER, "--ca", &expired.0],
        step: "tls",
        says: "has expired",
    };
    diagnose(bench, &certificate, &[])?;
    drop(expired);

    inspected(bench, pin)?;
    lab.firewall(Host::NatA, Firewall::OnlyProxy(PROXY_PORT))?;
    let result = refusing_proxy(bench);
    lab.firewall(Host::NatA, Firewall::OnlyHttps)?;
    result?;
    named.extend(["clock", "media", "expired", "inspected", "proxy"].map(str::to_owned));
    Ok(format!("{} faults named: {}", named.len(), named.join(", ")))
}

/// Somebody takes TLS apart whom the doctor's machine does not know.
fn inspected(bench: &Bench<'_>, pin: &str) -> Result<()> {
    intercepted::certificates(bench.dir)?;
    let _inspector = Inspector::start(bench)?;
    let pinned = Fault {
        what: "inspected",
        args: vec!["--contact", TUNNEL, "--pin", pin],
        step: "tls",
        says: "TLS is inspected",
    };
    diagnose(bench, &pinned, &[])
}

fn refusing_proxy(bench: &Bench<'_>) -> Result<()> {
    let _tinyproxy = tinyproxy(bench)?;
    let proxy = format!("http://office:wrong@192.168.1.1:{PROXY_PORT}");
    let refused = Fault {
        what: "proxy",
        args: vec!["--contact", TUNNEL, "--proxy", &proxy],
        step: "proxy",
        says: "wants a user and a password",
    };
    diagnose(bench, &refused, &[])
}

/// A second contact point with a certificate whose time is over; the file of its root.
fn expired(bench: &Bench<'_>) -> Result<(String, Causeway)> {
    let Bench { lab, dir, binary, .. } = *bench;
    let at = dir.join("expired");
    std::fs::create_dir_all(&at)?;
    let script = format!(
        "set -e\n\
         openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem \
           -days 3650 -subj /CN=lab-root\n\
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout leaf.key -out leaf.csr \
           -subj /CN=contact\n\
         printf 'subjectAltName=IP:{OTHER}\\nbasicConstraints=CA:FALSE\\n' > ext\n\
         faketime -f -30d openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 20 \
           -extfile ext -out leaf.pem\n"
    );
    output(Command::new("sh").args(["-c", &script]).current_dir(&at)).context("an expired certificate")?;
    let file = |name: &str| at.join(name).to_string_lossy().into_owned();
    let tunnel = format!("{OTHER}:443");
    let (cert, key) = (file("leaf.pem"), file("leaf.key"));
    let contact = binary.contact_with(lab, Path::new(&at), &tunnel, &["--cert", &cert, "--key", &key])?;
    Ok((file("ca.pem"), contact))
}

fn diagnose(bench: &Bench<'_>, fault: &Fault<'_>, before: &[&str]) -> Result<()> {
    let report = ask(bench, &fault.args, before)?;
    let failed = |step: &&Value| step["verdict"] == "failed";
    let found = report["steps"].as_array().into_iter().flatten().find(failed).cloned().unwrap_or_default();
    ensure!(
        report["failed"] == fault.step
            && found["found"].as_str().is_some_and(|text| text.contains(fault.says)),
        "{}: the doctor must name the step {} and say \"{}\", and says {report:#}",
        fault.what,
        fault.step,
        fault.says
    );
    ensure!(!found["advice"].as_str().unwrap_or_default().is_empty(), "{}: what is to be done?", fault.what);
    Ok(())
}

/// What the doctor says at the first customer's, run by the words in `before`.
fn ask(bench: &Bench<'_>, args: &[&str], before: &[&str]) -> Result<Value> {
    let program = bench.binary.path().to_string_lossy().into_owned();
    let mut words: Vec<&str> = before.to_vec();
    words.push(&program);
    words.extend(["doctor", "--json"]);
    words.extend(args);
    let (first, rest) = words.split_first().context("no program")?;
    let done = bench.lab.on(Host::AgentA, first).args(rest).output()?;
    let text = String::from_utf8_lossy(&done.stdout);
    let report: Value = serde_json::from_str(&text)
        .with_context(|| format!("{text}{}", String::from_utf8_lossy(&done.stderr)))?;
    ensure!(
        done.status.success() == report["failed"].is_null(),
        "the exit code is {} after {report:#}",
        done.status
    );
    Ok(report)
}
