//! What the customers' routers let through, and what they remember of it.

use super::{Host, Lab};
use anyhow::{Context, Result};

/// A router's rules. Every one masquerades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// TCP to port 443 may leave; answers may come back; nothing else passes.
    OnlyHttps,
    /// Nothing may pass; who is inside may speak to this TCP port of the router itself.
    OnlyProxy(u16),
    /// Everything from inside may leave.
    Open,
}

impl Firewall {
    /// As a script for `nft`: replaces the table at once.
    pub fn script(self, host: Host) -> String {
        let inside = if host == Host::Carrier { "sub" } else { "lan" };
        let out = match self {
            Self::OnlyHttps => "tcp dport 443 accept",
            Self::OnlyProxy(_) => "drop",
            Self::Open => "accept",
        };
        let own = match self {
            Self::OnlyProxy(port) => format!("iifname \"lan\" tcp dport {port} accept"),
            // A router resolves names for its customers.
            Self::OnlyHttps | Self::Open => "iifname \"lan\" udp dport 53 accept".to_owned(),
        };
        format!(
            "table inet lab {{}}
delete table inet lab
table inet lab {{
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state established accept
        iifname \"{inside}\" oifname \"wan\" {out}
        counter comment \"refused\"
    }}
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname \"lo\" accept
        ct state established accept
        {own}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        oifname \"wan\" masquerade
    }}
}}
"
        )
    }
}

/// Forgets all connections of a NAT.
///
/// # Errors
/// If `conntrack` fails.
pub fn conntrack_flush(lab: &Lab, nat: Host) -> Result<()> {
    lab.output(nat, "conntrack", &["-F"]).map(drop)
}

/// The entries that a NAT holds, one per line.
///
/// # Errors
/// If `conntrack` fails.
pub fn conntrack(lab: &Lab, nat: Host) -> Result<Vec<String>> {
    let entries = lab.output(nat, "conntrack", &["-L"])?;
    Ok(entries.lines().map(str::to_owned).collect())
}

/// How many packets a firewall has refused since it was set.
///
/// # Errors
/// If `nft` fails, or prints no counter.
pub fn refused_packets(lab: &Lab, nat: Host) -> Result<u64> {
    let rules = lab.output(nat, "nft", &["list", "chain", "inet", "lab", "forward"])?;
    let line = rules.lines().find(|line| line.contains("refused")).context("the firewall has no counter")?;
    let packets = line.split_whitespace().skip_while(|word| *word != "packets").nth(1);
    packets
        .and_then(|packets| packets.parse().ok())
        .with_context(|| format!("no counter in `{}`", line.trim()))
}
