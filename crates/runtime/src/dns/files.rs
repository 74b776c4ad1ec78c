//! What the system says of name servers and hosts: resolv.conf(5), hosts(5).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Name servers that are asked, as resolv.conf has it.
const SERVERS: usize = 3;
/// Domains of the search list.
const SEARCH: usize = 6;
const PORT: u16 = 53;

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Asked in this order.
    pub servers: Vec<SocketAddr>,
    /// What is put behind names with few dots.
    pub search: Vec<String>,
    /// A name with so many dots is asked for as it is.
    pub ndots: usize,
    /// How long each server has for an answer.
    pub timeout: Duration,
    /// How often all servers are asked.
    pub attempts: u32,
    hosts: String,
}

impl Settings {
    /// Those of the system as its files are now, with other servers and another patience where such are given.
    pub fn now(servers: &[SocketAddr], timeout: Option<Duration>) -> Self {
        let read = |path| std::fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned());
        let mut settings = Self::parse(&read("/etc/resolv.conf").unwrap_or_default());
        settings.hosts = read("/etc/hosts").unwrap_or_default();
        if !servers.is_empty() {
            settings.servers = servers.to_vec();
        }
        if let Some(timeout) = timeout {
            settings.timeout = timeout;
        }
        settings
    }

    fn parse(resolv_conf: &str) -> Self {
        let mut settings = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            hosts: String::new(),
        };
        for line in resolv_conf.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A zone index (fe80::1%eth0) is more than a resolver that asks from anywhere can use.
                    let server = words.next().and_then(|word| word.parse().ok());
                    settings.servers.extend(server.map(|ip: IpAddr| SocketAddr::new(ip, PORT)));
                }
                // Of several, the last counts.
                Some("search" | "domain") => {
                    settings.search = words
                        .take(SEARCH)
                        .map(|word| word.trim_end_matches('.').to_owned())
                        .filter(|word| !word.is_empty())
                        .collect();
                }
                Some("options") => words.for_each(|word| settings.option(word)),
                _ => {}
            }
        }
        settings.servers.truncate(SERVERS);
        if settings.servers.is_empty() {
            settings.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
        }
        settings
    }

    fn option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        match name {
            "ndots" => self.ndots = value.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// The addresses of a name in the hosts file.
    pub fn host(&self, name: &str) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for line in self.hosts.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else { continue };
            if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&ip) {
                found.push(ip);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_as_its_manual_describes_it() {
        let text = "# comment\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver fe80::1%eth0\n\
            ; comment\nsearch a.example\nsearch b.example c.example.\noptions ndots:2 timeout:3 rotate\n\
            options attempts:9 timeout:x\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let settings = Settings::parse(text);
        let servers: Vec<String> = settings.servers.iter().map(SocketAddr::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]);
        assert_eq!(settings.search, ["b.example", "c.example"]);
        assert_eq!((settings.ndots, settings.timeout, settings.attempts), (2, Duration::from_secs(3), 5));
        assert_eq!(Settings::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn hosts_as_their_manual_describes_them() {
        let mut settings = Settings::parse("");
        settings.hosts =
            "127.0.0.1 localhost\n::1\tlocalhost ip6-localhost # that one\n192.0.2.5 Sip.Example sip\n"
                .into();
        assert_eq!(settings.host("LOCALHOST").len(), 2);
        assert_eq!(settings.host("sip.example"), ["192.0.2.5".parse::<IpAddr>().unwrap()]);
        assert!(settings.host("that").is_empty() && settings.host("127.0.0.1").is_empty());
    }
}
