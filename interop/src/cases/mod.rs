//! The table of cases: peers, what happens, what is expected.

mod calls;
mod control;
mod network;
mod operators;
mod peers;

use crate::scene::Bench;
use anyhow::Result;

/// How a case ended that did not fail.
pub enum Outcome {
    /// As expected; what was measured.
    Passed(String),
    /// Not run.
    #[allow(dead_code, reason = "no case may be skipped on a machine where everything can be installed")]
    Skipped(String),
}

/// One row.
pub struct Case {
    /// How to ask for it.
    pub name: &'static str,
    /// Who takes part beside Causeway.
    pub peers: &'static str,
    /// What happens, and what must come of it.
    pub expected: &'static str,
    /// Whether it belongs to the quick ones.
    pub quick: bool,
    /// Runs it.
    pub run: fn(&Bench<'_>) -> Result<Outcome>,
}

/// All cases, controls first.
pub const ALL: &[Case] = &[
    Case {
        name: "direct-inside",
        peers: "baresip, Kamailio",
        expected: "control: without us and without NATs the call works and the audio is recognised",
        quick: true,
        run: control::direct_inside,
    },
    Case {
        name: "direct-outside",
        peers: "baresip, Kamailio",
        expected: "control: without us the same phones cannot even register; with open firewalls they can",
        quick: true,
        run: control::direct_outside,
    },
    Case {
        name: "call-a-b",
        peers: "baresip, Kamailio",
        expected: "A calls B, both hear one another, the caller hangs up",
        quick: true,
        run: calls::a_calls_b,
    },
    Case {
        name: "call-b-a",
        peers: "baresip, Kamailio",
        expected: "B calls A, both hear one another, the callee hangs up",
        quick: true,
        run: calls::b_calls_a,
    },
    Case {
        name: "cancel",
        peers: "baresip, Kamailio",
        expected: "the caller gives up while it rings: the callee stops ringing, nothing is left",
        quick: true,
        run: calls::cancel,
    },
    Case {
        name: "busy",
        peers: "baresip, Kamailio",
        expected: "the callee refuses: the caller is told 486, nothing is left",
        quick: true,
        run: calls::busy,
    },
    Case {
        name: "path",
        peers: "baresip, Kamailio with strict Path",
        expected: "registration with Path is accepted, calls both ways are heard",
        quick: true,
        run: operators::path,
    },
    Case {
        name: "one-mapping",
        peers: "baresip, Kamailio, conntrack",
        expected: "during a call each NAT holds one entry, the tunnel's; a refused datagram leaves none",
        quick: true,
        run: network::one_mapping,
    },
    Case {
        name: "sockets",
        peers: "baresip, Kamailio, ss",
        expected: "during a call the agent has one outbound connection, to port 443; all else is on its LAN address",
        quick: true,
        run: network::sockets,
    },
    Case {
        name: "up",
        peers: "baresip",
        expected: "causeway up in Kamailio's place: digest, calls both ways are heard; a wrong password fails",
        quick: true,
        run: operators::up,
    },
    Case {
        name: "unregistered",
        peers: "baresip, Kamailio",
        expected: "a phone that has not registered calls: 403, and Kamailio sees nothing",
        quick: true,
        run: calls::unregistered,
    },
    Case {
        name: "tcp-phones",
        peers: "baresip over TCP, Kamailio",
        expected: "both phones reach their agents over TCP, calls both ways are heard",
        quick: false,
        run: peers::tcp_phones,
    },
    Case {
        name: "hold",
        peers: "baresip, Kamailio",
        expected: "on hold no packet comes, after resume they do again (two re-INVITEs)",
        quick: false,
        run: peers::hold,
    },
    Case {
        name: "beside",
        peers: "baresip, Kamailio",
        expected: "agents on the phones' hosts, on 127.0.0.1: a call is heard, no other socket",
        quick: false,
        run: peers::beside,
    },
    Case {
        name: "to-inside",
        peers: "baresip, Kamailio",
        expected: "the other phone stands in the operator's network: calls both ways are heard",
        quick: false,
        run: peers::to_inside,
    },
    Case {
        name: "same-lan",
        peers: "baresip, Kamailio",
        expected: "two phones behind one agent call one another and are heard",
        quick: false,
        run: peers::same_lan,
    },
    Case {
        name: "two-calls",
        peers: "baresip, Kamailio, conntrack",
        expected: "two calls at once through the same agents: each is heard, one entry per NAT",
        quick: false,
        run: network::two_calls,
    },
    Case {
        name: "linphone",
        peers: "linphonec, baresip, Kamailio",
        expected: "linphonec in one phone's place calls and is called, both are heard",
        quick: true,
        run: peers::linphone,
    },
    Case {
        name: "life-cycle",
        peers: "Kamailio, conntrack",
        expected: "tunnels come with their agents and go with them, at SIGTERM, at once",
        quick: false,
        run: network::life_cycle,
    },
    Case {
        name: "silence",
        peers: "baresip, Kamailio, conntrack",
        expected: "NATs forget after 20 s: after 30 s of silence a call still comes in; control",
        quick: false,
        run: network::silence,
    },
];
