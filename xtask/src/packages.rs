//! The Debian packages that foreign peers come from.

use crate::run::{have, run};
use anyhow::Result;
use std::process::Command;

/// A program that must be there, and the package that brings it.
pub type Need = (&'static str, &'static str);

/// What the lab needs.
pub const INTEROP: &[Need] = &[
    ("ip", "iproute2"),
    ("sysctl", "procps"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("kamailio", "kamailio"),
    // A module, not a program; elsewhere than on amd64 apt only looks again whether it is there.
    ("/usr/lib/x86_64-linux-gnu/kamailio/modules/tls.so", "kamailio-tls-modules"),
    ("baresip", "baresip-core"),
    ("linphonec", "linphone-cli"),
    ("sipp", "sip-tester"),
    ("strace", "strace"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("dnsmasq", "dnsmasq-base"),
    ("tinyproxy", "tinyproxy-bin"),
    ("faketime", "faketime"),
    ("tshark", "tshark"),
];

/// What single tests compare with; without it they say that they are skipped.
pub const TESTS: &[Need] =
    &[("sngrep", "sngrep"), ("tshark", "tshark"), ("openssl", "openssl"), ("python3", "python3")];

/// What the benchmarks need beside that.
pub const BENCH: &[Need] = &[
    ("rtpengine", "rtpengine-daemon"),
    ("turnserver", "coturn"),
    ("python3", "python3"),
    ("valgrind", "valgrind"),
];

/// Installs what is missing where it may; otherwise says exactly what to install. Says whether all is there.
pub fn ensure(needs: &[Need]) -> Result<bool> {
    let missing: Vec<&str> =
        needs.iter().filter(|(bin, _)| !have(bin)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(true);
    }
    if !is_root() || !have("apt-get") {
        eprintln!("missing programs; install them with: apt-get install {}", missing.join(" "));
        return Ok(false);
    }
    let no_services = NoServices::new();
    run(Command::new("apt-get").arg("update").arg("-qq"))?;
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing))?;
    drop(no_services);
    Ok(true)
}

/// Whether this process may install packages and make network namespaces.
pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

/// While it lives, installed packages start no services, which would take the ports that the lab uses.
struct NoServices(bool);

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let ours = !std::path::Path::new(POLICY).exists()
            && std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").is_ok()
            && std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755)).is_ok();
        Self(ours)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0 && std::fs::remove_file(POLICY).is_err() {
            eprintln!("could not remove {POLICY}: delete it, or no newly installed service will start");
        }
    }
}
