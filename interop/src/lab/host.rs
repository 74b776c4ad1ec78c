//! The hosts, their cables and addresses.

/// A host of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The first customer's phone.
    PhoneA,
    /// A server in the first customer's LAN.
    AgentA,
    /// The first customer's router.
    NatA,
    /// The carrier's NAT, which the first customer is behind as well.
    Carrier,
    /// The switch between carrier, second customer and operator.
    Internet,
    /// The second customer's router.
    NatB,
    /// A server in the second customer's LAN.
    AgentB,
    /// The second customer's phone.
    PhoneB,
    /// The operator's edge: a public address and one inside.
    Edge,
    /// The operator's SIP server.
    Core,
    /// A phone inside the operator's network.
    InsideA,
    /// Another one.
    InsideB,
}

use Host::{AgentA, AgentB, Carrier, Core, Edge, InsideA, InsideB, Internet, NatA, NatB, PhoneA, PhoneB};

/// Hosts that hold a bridge.
pub const BRIDGES: &[(Host, &str)] = &[(NatA, "lan"), (NatB, "lan"), (Internet, "net"), (Core, "core")];

/// Cables: one end, the other.
pub const CABLES: &[(Host, &str, Host, &str)] = &[
    (PhoneA, "eth0", NatA, "p1"),
    (AgentA, "eth0", NatA, "p2"),
    (NatA, "wan", Carrier, "sub"),
    (Carrier, "wan", Internet, "p1"),
    (NatB, "wan", Internet, "p2"),
    (Edge, "wan", Internet, "p3"),
    (PhoneB, "eth0", NatB, "p1"),
    (AgentB, "eth0", NatB, "p2"),
    (Edge, "inside", Core, "p1"),
    (InsideA, "eth0", Core, "p2"),
    (InsideB, "eth0", Core, "p3"),
];

impl Host {
    /// All of them.
    pub const ALL: [Self; 12] =
        [PhoneA, AgentA, NatA, Carrier, Internet, NatB, AgentB, PhoneB, Edge, Core, InsideA, InsideB];

    /// Short name, as in the namespace.
    pub fn name(self) -> &'static str {
        match self {
            PhoneA => "phone-a",
            AgentA => "agent-a",
            NatA => "nat-a",
            Carrier => "carrier",
            Internet => "internet",
            NatB => "nat-b",
            AgentB => "agent-b",
            PhoneB => "phone-b",
            Edge => "edge",
            Core => "core",
            InsideA => "inside-a",
            InsideB => "inside-b",
        }
    }

    /// The address by which phones and servers of this host are reached; routers have several.
    pub fn address(self) -> &'static str {
        match self {
            PhoneA | PhoneB => "192.168.1.10",
            AgentA | AgentB => super::AGENT,
            NatA | NatB => "192.168.1.1",
            Carrier => "203.0.113.2",
            Edge => super::EDGE_INSIDE,
            Core => super::CORE,
            InsideA => "10.9.0.21",
            InsideB => "10.9.0.22",
            Internet => "",
        }
    }

    /// Whether it routes.
    pub fn forwards(self) -> bool {
        matches!(self, NatA | NatB | Carrier)
    }

    /// Interfaces with their addresses, and the way out.
    fn addresses(self) -> (&'static [(&'static str, &'static str)], Option<&'static str>) {
        match self {
            PhoneA | PhoneB => (&[("eth0", "192.168.1.10/24")], Some("192.168.1.1")),
            AgentA | AgentB => (&[("eth0", "192.168.1.2/24")], Some("192.168.1.1")),
            NatA => (&[("lan", "192.168.1.1/24"), ("wan", "100.64.0.2/24")], Some("100.64.0.1")),
            Carrier => (&[("sub", "100.64.0.1/24"), ("wan", "203.0.113.2/24")], None),
            NatB => (&[("lan", "192.168.1.1/24"), ("wan", "203.0.113.3/24")], None),
            Edge => (&[("wan", "203.0.113.10/24"), ("inside", "10.9.0.1/24")], None),
            Core => (&[("core", "10.9.0.2/24")], None),
            InsideA => (&[("eth0", "10.9.0.21/24")], Some("10.9.0.1")),
            InsideB => (&[("eth0", "10.9.0.22/24")], Some("10.9.0.1")),
            Internet => (&[], None),
        }
    }

    /// What `ip -batch` does in the namespace of this host.
    pub fn setup(self) -> String {
        let mut script = "link set lo up\n".to_owned();
        let bridge = BRIDGES.iter().find(|(host, _)| *host == self).map(|(_, bridge)| *bridge);
        let ends = CABLES.iter().flat_map(|(one, its, other, others)| [(*one, *its), (*other, *others)]);
        for (_, port) in ends.filter(|(host, _)| *host == self) {
            match bridge {
                Some(bridge) if port.starts_with('p') => {
                    script.push_str(&format!("link set {port} master {bridge} up\n"));
                }
                _ => script.push_str(&format!("link set {port} up\n")),
            }
        }
        if let Some(bridge) = bridge {
            script.push_str(&format!("link set {bridge} up\n"));
        }
        let (addresses, gateway) = self.addresses();
        for (interface, address) in addresses {
            script.push_str(&format!("addr add {address} dev {interface}\n"));
        }
        if let Some(gateway) = gateway {
            script.push_str(&format!("route add default via {gateway}\n"));
        }
        script
    }
}
