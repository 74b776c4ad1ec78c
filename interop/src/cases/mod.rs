//! The table of cases: peers, what happens, what is expected.

mod abuse;
mod calls;
mod control;
mod dns;
mod doctor;
mod drain;
mod faults;
mod flood;
mod forking;
mod intercepted;
mod legs;
mod media;
mod nat;
mod network;
mod operators;
mod peers;
mod presence;
mod tls;
mod ways_out;

use crate::durability;
use crate::scene::Bench;
use anyhow::Result;

/// One row.
pub struct Case {
    /// How to ask for it.
    pub name: &'static str,
    /// Who takes part beside Causeway.
    pub peers: &'static str,
    /// Programs without which it is skipped.
    pub needs: &'static [&'static str],
    /// What happens, and what must come of it.
    pub expected: &'static str,
    /// Whether it belongs to the quick ones.
    pub quick: bool,
    /// Runs it; what was measured, or what is wrong.
    pub run: fn(&Bench<'_>) -> Result<String>,
}

/// All cases, controls first.
pub const ALL: &[Case] = &[
    Case {
        name: "direct-inside",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "control: without us and without NATs the call works and the audio is recognised",
        quick: true,
        run: control::direct_inside,
    },
    Case {
        name: "direct-outside",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "control: without us the same phones cannot even register; with open firewalls they can",
        quick: true,
        run: control::direct_outside,
    },
    Case {
        name: "call-a-b",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "A calls B, both hear one another, the caller hangs up",
        quick: true,
        run: calls::a_calls_b,
    },
    Case {
        name: "call-b-a",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "B calls A, both hear one another, the callee hangs up",
        quick: true,
        run: calls::b_calls_a,
    },
    Case {
        name: "cancel",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "the caller gives up while it rings: the callee stops ringing, nothing is left",
        quick: true,
        run: calls::cancel,
    },
    Case {
        name: "busy",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "the callee refuses: the caller is told 486, nothing is left",
        quick: true,
        run: calls::busy,
    },
    Case {
        name: "path",
        peers: "baresip, Kamailio with strict Path",
        needs: &["baresip", "kamailio"],
        expected: "registration with Path is accepted, calls both ways are heard",
        quick: true,
        run: operators::path,
    },
    Case {
        name: "one-mapping",
        peers: "baresip, Kamailio, conntrack",
        needs: &["baresip", "kamailio", "conntrack"],
        expected: "during a call each NAT holds one entry, the tunnel's; a refused datagram leaves none",
        quick: true,
        run: network::one_mapping,
    },
    Case {
        name: "sockets",
        peers: "baresip, Kamailio, ss",
        needs: &["baresip", "kamailio"],
        expected: "during a call the agent has one outbound connection, to port 443; all else is on its LAN address",
        quick: true,
        run: network::sockets,
    },
    Case {
        name: "proxy",
        peers: "baresip, Kamailio, tinyproxy",
        needs: &["baresip", "kamailio", "tinyproxy"],
        expected: "an HTTP proxy with a password is the only way out: calls both ways are heard; a wrong password is named",
        quick: true,
        run: ways_out::proxy,
    },
    Case {
        name: "moving-name",
        peers: "baresip, Kamailio, dnsmasq",
        needs: &["baresip", "kamailio", "dnsmasq"],
        expected: "the contact point's name gets another address and the old one goes: the tunnel moves, a call is heard",
        quick: false,
        run: ways_out::moving_name,
    },
    Case {
        name: "on-demand",
        peers: "baresip, Kamailio, conntrack",
        needs: &["baresip", "kamailio", "conntrack"],
        expected: "no connection in any NAT before the first request and after the last registration; calls are heard",
        quick: true,
        run: ways_out::on_demand,
    },
    Case {
        name: "faults",
        peers: "baresip, Kamailio, ss, conntrack",
        needs: &["baresip", "kamailio", "conntrack"],
        expected: "during a call: connections reset, everything swallowed for 20 s, another address, contact point and agents \
                   killed and started again: the call stands, speech is back within 2 s after the path is, ports are the \
                   same, the server sees nothing twice",
        quick: false,
        run: faults::faults,
    },
    Case {
        name: "abuse",
        peers: "baresip, Kamailio, rogues in Python",
        needs: &["baresip", "kamailio", "python3"],
        expected: "beside a call: half-open handshakes, tunnels without Hello or with one byte by byte, floods of lanes, of \
                   control and of garbage, broken windows, answers never read, tickets used twice: each is cut off with its \
                   reason in log and figures, processor and memory stay bounded, both voices are recognised after each",
        quick: false,
        run: abuse::abuse,
    },
    Case {
        name: "legs",
        peers: "baresip, Kamailio, a delay in Python (TUN)",
        needs: &["baresip", "kamailio", "python3"],
        expected: "LAN, tunnel and the operator's network are given delays of different lengths during a call: status shows \
                   each at its own leg, from the phones' RTCP",
        quick: false,
        run: legs::legs,
    },
    Case {
        name: "drain",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "during a call one of two contact points is told to end: a new call goes through the other at once, the old \
                   one goes on and is heard to its end, then the first contact point ends by itself",
        quick: false,
        run: drain::drain,
    },
    Case {
        name: "intercepted",
        peers: "baresip, a TLS inspector in Python",
        needs: &["baresip", "python3", "openssl"],
        expected: "a TLS inspector that the agent trusts: with digest the agent refuses it and doctor names it, with the header \
                   calls are heard and status says that they are not protected",
        quick: true,
        run: intercepted::intercepted,
    },
    Case {
        name: "doctor",
        peers: "tinyproxy, faketime, openssl, an inspector",
        needs: &["tinyproxy", "faketime", "openssl", "python3"],
        expected: "name, port, firewall, proxy, pin, expired certificate, inspected TLS, password, media, clock: each is named",
        quick: true,
        run: doctor::doctor,
    },
    Case {
        name: "up",
        peers: "baresip",
        needs: &["baresip"],
        expected: "causeway up in Kamailio's place: digest, calls both ways are heard; a wrong password fails",
        quick: true,
        run: operators::up,
    },
    Case {
        name: "unregistered",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "a phone that has not registered calls: 403, and Kamailio sees nothing",
        quick: true,
        run: calls::unregistered,
    },
    Case {
        name: "tcp-phones",
        peers: "baresip over TCP, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "both phones reach their agents over TCP, calls both ways are heard",
        quick: false,
        run: peers::tcp_phones,
    },
    Case {
        name: "hold",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "on hold no packet comes, after resume they do again (two re-INVITEs)",
        quick: false,
        run: peers::hold,
    },
    Case {
        name: "beside",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "agents on the phones' hosts, on 127.0.0.1: a call is heard, no other socket",
        quick: false,
        run: peers::beside,
    },
    Case {
        name: "to-inside",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "the other phone stands in the operator's network: calls both ways are heard",
        quick: false,
        run: peers::to_inside,
    },
    Case {
        name: "same-lan",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "two phones behind one agent call one another and are heard",
        quick: false,
        run: peers::same_lan,
    },
    Case {
        name: "two-calls",
        peers: "baresip, Kamailio, conntrack",
        needs: &["baresip", "kamailio", "conntrack"],
        expected: "two calls at once through the same agents: each is heard, one entry per NAT",
        quick: false,
        run: network::two_calls,
    },
    Case {
        name: "linphone",
        peers: "linphonec, baresip, Kamailio",
        needs: &["baresip", "linphonec", "kamailio"],
        expected: "linphonec in one phone's place calls and is called, both are heard",
        quick: true,
        run: peers::linphone,
    },
    Case {
        name: "life-cycle",
        peers: "Kamailio, conntrack",
        needs: &["kamailio", "conntrack"],
        expected: "tunnels come with their agents and go with them, at SIGTERM, at once",
        quick: false,
        run: network::life_cycle,
    },
    Case {
        name: "silence",
        peers: "baresip, Kamailio, conntrack",
        needs: &["baresip", "kamailio", "conntrack"],
        expected: "NATs forget after 20 s: after 30 s of silence a call still comes in; control",
        quick: false,
        run: network::silence,
    },
    Case {
        name: "sipp",
        peers: "SIPp, Kamailio, conntrack",
        needs: &["sipp", "kamailio", "conntrack"],
        expected: "100 calls, 20 begun per second: all are set up and ended, one entry per NAT, nothing is left",
        quick: true,
        run: network::many_calls,
    },
    Case {
        name: "kill",
        peers: "",
        needs: &[],
        expected: "SIGKILL in a storm of registrations, 200 times (quick: 10): what a 200 has promised is there, what it has ended is not",
        quick: true,
        run: durability::kill,
    },
    Case {
        name: "power-loss",
        peers: "strace",
        needs: &["strace"],
        expected: "a power cut in the moment in which a 200 leaves: what was not synced is lost, every promise kept; without syncing promises break",
        quick: true,
        run: durability::power_loss,
    },
    Case {
        name: "forking",
        peers: "SIPp",
        needs: &["sipp"],
        expected: "three contacts: one answers and the others are cancelled; all busy; the caller gives up; by q after a \
                   refusal, and after ringing too long",
        quick: true,
        run: forking::forking,
    },
    Case {
        name: "nat",
        peers: "baresip",
        needs: &["baresip"],
        expected: "phones behind NATs without agents, at the exchange itself over UDP and TCP: calls are set up, and ended \
                   by either",
        quick: true,
        run: nat::behind_nat,
    },
    Case {
        name: "redirect",
        peers: "SIPp",
        needs: &["sipp"],
        expected: "the exchange answers 302 with the contacts, the best first",
        quick: true,
        run: forking::redirect,
    },
    Case {
        name: "dns",
        peers: "SIPp, dnsmasq",
        needs: &["sipp", "dnsmasq"],
        expected: "calls to a domain whose NAPTR leads to SRV records: the host of the best priority is dead, two others \
                   share the calls by weight; all are answered",
        quick: true,
        run: dns::dns,
    },
    Case {
        name: "flood",
        peers: "SIPp",
        needs: &["sipp"],
        expected: "100,000 datagrams of garbage a second beside 200 calls a second: at least 99.9 % of the calls complete",
        quick: false,
        run: flood::flood,
    },
    Case {
        name: "tls-peer",
        peers: "Kamailio, SIPp, dnsmasq, OpenSSL",
        needs: &["kamailio", "sipp", "dnsmasq", "openssl"],
        expected: "another operator over TLS, found by NAPTR and SRV: a call to it and a call from it, trusted by the name \
                   in its certificate",
        quick: true,
        run: tls::tls,
    },
    Case {
        name: "transfer",
        peers: "baresip",
        needs: &["baresip"],
        expected: "A talks to B and hands him over to C by REFER: B and C hear one another, A is free",
        quick: false,
        run: operators::transfer,
    },
    Case {
        name: "presence",
        peers: "baresip, linphonec",
        needs: &["baresip", "linphonec"],
        expected: "A watches B: online while registered, or as B has published, offline when B has gone; messages \
                   both ways, and some that wait for B to come back",
        quick: true,
        run: presence::presence,
    },
    Case {
        name: "video",
        peers: "baresip with VP8, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "voice and video; the video is taken out by re-INVITE and put in again; both hear one another",
        quick: false,
        run: media::video,
    },
    Case {
        name: "t38",
        peers: "Python, Kamailio",
        needs: &["kamailio", "python3"],
        expected: "a fax over UDPTL: every datagram arrives byte by byte as it was sent, both ways",
        quick: true,
        run: media::t38,
    },
    Case {
        name: "msrp",
        peers: "Python, Kamailio",
        needs: &["kamailio", "python3"],
        expected: "a megabyte each way over MSRP between peers that compare every path",
        quick: true,
        run: media::msrp,
    },
    Case {
        name: "early",
        peers: "Python, Kamailio",
        needs: &["kamailio", "python3"],
        expected: "media before the answer are heard by the caller",
        quick: false,
        run: media::early,
    },
    Case {
        name: "parallel",
        peers: "Python, Kamailio, conntrack",
        needs: &["kamailio", "python3", "conntrack"],
        expected: "20 calls with media at once: all packets are heard, one entry per NAT",
        quick: false,
        run: media::parallel,
    },
    Case {
        name: "fork",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "two phones of one user ring; one is picked up and heard, the other stops",
        quick: false,
        run: media::fork,
    },
    Case {
        name: "lan-media",
        peers: "baresip, Kamailio",
        needs: &["baresip", "kamailio"],
        expected: "two phones of one LAN: no packet at the contact point, and voice goes on without a tunnel",
        quick: true,
        run: media::lan_media,
    },
    Case {
        name: "dscp",
        peers: "baresip, Kamailio, tshark",
        needs: &["baresip", "kamailio", "tshark"],
        expected: "packets of each kind bear their mark on LAN, tunnel and the operator's side",
        quick: false,
        run: media::dscp,
    },
    Case {
        name: "ipv6",
        peers: "baresip, Kamailio over IPv6",
        needs: &["baresip", "kamailio"],
        expected: "an operator with IPv6 alone, customers with IPv4 alone: calls both ways are heard",
        quick: false,
        run: media::ipv6,
    },
    Case {
        name: "silent-call",
        peers: "Python, Kamailio, tshark, conntrack",
        needs: &["kamailio", "python3", "tshark", "conntrack"],
        expected: "60 s without RTP and SIP, NATs that forget after 30 s: only keep-alives, then speech; control without keep-alive",
        quick: false,
        run: media::silent_call,
    },
];
