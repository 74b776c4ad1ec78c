//! The demo, seen from outside.

use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn start(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(["demo", "--json", "--seconds", "4"])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr));
    })
}

/// Established TCP connections of a process, as the kernel lists them: each end once.
fn tcp_ends(pid: u32) -> usize {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let sockets: HashSet<String> = files
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let established = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(3) == Some(&"01") && fields.get(9).is_some_and(|inode| sockets.contains(*inode))
    };
    table.lines().filter(established).count()
}

#[test]
fn a_spoken_call_crosses_two_tunnels() {
    let child = start(&[]);
    let pid = child.id();
    let (watched, deadline) = (Instant::now(), Duration::from_secs(5));
    let mut most = 0;
    while watched.elapsed() < deadline {
        most = most.max(tcp_ends(pid));
        thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().unwrap();
    let report = report(&output);
    assert!(output.status.success(), "{report}");
    assert_eq!(most, 4, "two tunnels, both of whose ends are in this process");
    assert_eq!(report["tcp_connections"], 2);
    assert_eq!(report["audio_identical"], true);
    assert_eq!(report["calls"], 1);
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name} in {report}"));
    // Two directions of 50 packets a second, for about four seconds.
    assert!(number("sent") > 350.0 && number("sent") < 450.0, "{report}");
    assert!(number("mos") > 4.0 && number("setup_ms") < 5000.0, "{report}");
    assert_eq!(number("received") + number("lost"), number("sent"));
}

#[test]
fn one_flipped_bit_is_noticed() {
    let output = start(&["--corrupt"]).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report(&output)["audio_identical"], false);
    assert!(String::from_utf8_lossy(&output.stderr).contains("not what was spoken"));
}
