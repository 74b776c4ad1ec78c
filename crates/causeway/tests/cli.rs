//! The program as its user sees it: exit codes, output, files.

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn causeway(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.args(args).env("NO_COLOR", "1");
    command
}

fn run(args: &[&str], stdin: &[u8]) -> Output {
    let mut child =
        causeway(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const OPTIONS: &str = "OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\n\
    CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

#[test]
fn sip_check_says_what_is_wrong_and_where() {
    let good = run(&["sip", "check", "-"], OPTIONS.as_bytes());
    assert!(good.status.success(), "{}", text(&good.stdout));
    let bad = OPTIONS.replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE");
    let output = run(&["sip", "check", "-", "--json"], bad.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let fault = &json["faults"][0];
    assert_eq!((fault["line"].as_u64(), fault["answer"].as_u64()), (Some(7), Some(400)), "{json}");
    assert!(fault["section"].as_str().unwrap().contains("RFC 3261"));
    assert_eq!(run(&["sip", "check", "/nonexistent"], b"").status.code(), Some(3));
}

#[test]
fn subscribers_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let alice = "sip:alice@example.com";
    let add = |stdin: &[u8]| run(&["subscriber", "add", alice, "--password-stdin", "--data", data], stdin);
    assert_eq!(add(b"\n").status.code(), Some(2), "an empty password proves nothing");
    assert!(add(b"secret\n").status.success());
    assert_eq!(add(b"secret\n").status.code(), Some(1), "she exists already");
    let csv = b"uri,password\nsip:bob@example.com,x\nsip:alice@example.com,y\n";
    let import = run(&["subscriber", "import", "-", "--json", "--data", data], csv);
    let json: Value = serde_json::from_slice(&import.stdout).unwrap();
    assert_eq!((json["added"].as_u64(), json["changed"].as_u64()), (Some(1), Some(1)));
    let list = run(&["subscriber", "list", "--data", data], b"");
    assert_eq!(text(&list.stdout), "sip:alice@example.com\nsip:bob@example.com\n");
    assert!(run(&["subscriber", "remove", alice, "--data", data], b"").status.success());
    assert_eq!(run(&["subscriber", "show", alice, "--data", data], b"").status.code(), Some(1));
    let show = run(&["subscriber", "show", "sip:bob@example.com", "--data", data], b"");
    assert!(!text(&show.stdout).contains("ha1"), "no secret is shown");
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        assert_private(&entry.unwrap().path());
    }
}

fn assert_private(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{} is open to others ({mode:o})", file.display());
}

#[test]
fn wrong_use_is_told_apart_from_what_cannot_be_reached() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    assert_eq!(run(&["contact", "--tunnel", "127.0.0.1:1"], b"").status.code(), Some(2));
    let unspecified =
        ["up", "--domain", "d", "--sip", "0.0.0.0:5060", "--tunnel", "127.0.0.1:1", "--check-config"];
    assert_eq!(run(&unspecified, b"").status.code(), Some(2));
    let fine =
        ["up", "--domain", "d", "--sip", "127.0.0.1:5060", "--tunnel", "127.0.0.1:1", "--check-config"];
    assert!(run(&fine, b"").status.success());
    let config = dir.path().join("agent.toml");
    std::fs::write(&config, "contact = \"example.com\"\nlisten = \"127.0.0.1:5060\"\npinn = \"x\"\n")
        .unwrap();
    let output = run(&["agent", "--config", config.to_str().unwrap(), "--check-config"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("pinn"), "{}", text(&output.stderr));
    assert_eq!(run(&["status", "--data", data], b"").status.code(), Some(3));
    // 192.0.2.1 is no address of this machine.
    let elsewhere =
        ["up", "--domain", "d", "--sip", "192.0.2.1:5060", "--tunnel", "127.0.0.1:0", "--data", data];
    let output = run(&elsewhere, b"");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("192.0.2.1:5060"), "{}", text(&output.stderr));
}

#[test]
fn demands_on_keys_that_cannot_be_met_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let contact =
        ["contact", "--tunnel", "127.0.0.1:1", "--sip", "127.0.0.1:5060", "--upstream", "sip:127.0.0.1"];
    let with = |more: &[&str]| run(&[&contact[..], more, &["--check-config"]].concat(), b"");
    assert!(with(&["--min-assurance", "header"]).status.success());
    for (more, word) in [
        (&["--min-assurance", "digest"][..], "--subscribers"),
        (&["--min-assurance", "aka"], "SIM"),
        (&["--min-assurance", "high"], "high"),
        (&["--subscribers", folder], "subscribers.db"),
    ] {
        let output = with(more);
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        assert!(text(&output.stderr).contains(word), "{more:?}: {}", text(&output.stderr));
    }
    let account = dir.path().join("account.toml");
    let agent = |content: &str| {
        std::fs::write(&account, content).unwrap();
        let file = account.to_str().unwrap();
        let args = ["agent", "--contact", "c.example", "--listen", "127.0.0.1:5060", "--account", file];
        run(&[&args[..], &["--check-config"]].concat(), b"")
    };
    assert!(
        agent("[[line]]\nuri = \"sip:a@b\"\npassword = \"x\"\nmin_assurance = \"digest\"\n").status.success()
    );
    for wrong in ["min_assurance = \"aka\"\n", "[[line]]\npassword = \"x\"\n", "[[line]]\nuri = \"x\"\n"] {
        assert_eq!(agent(wrong).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn completions_are_printed() {
    assert!(text(&run(&["completions", "bash"], b"").stdout).contains("causeway"));
}
