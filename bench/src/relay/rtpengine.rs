//! rtpengine in user space, driven over its control protocol.

use crate::load::{Clock, Manner, Set, describe, target};
use crate::udp::Udp;
use anyhow::{Context, Result, bail};
use causeway_bench::process::Process;
use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

const CONTROL: &str = "127.0.0.1:22222";

/// Calls from UDP to UDP through rtpengine.
pub fn to_udp(calls: usize) -> Result<Set> {
    let process = Process::start(
        Command::new("rtpengine")
            .args(["--foreground", "--table=-1", "--interface=127.0.0.1", "--log-level=1"])
            .args(["--port-min=30000", "--port-max=39999", &format!("--listen-ng={CONTROL}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
    .context("install Debian's rtpengine-daemon")?;
    let control = UdpSocket::bind("127.0.0.1:0")?;
    control.set_read_timeout(Some(Duration::from_millis(200)))?;
    control.connect(CONTROL)?;
    wait_until_it_answers(&control)?;
    let (left, right) = (Udp::new([127, 0, 2, 1].into(), calls)?, Udp::new([127, 0, 3, 1].into(), calls)?);
    let (from, to) = (left.addresses(calls)?, right.addresses(calls)?);
    let (mut lefts, mut rights) = (Vec::new(), Vec::new());
    for call in 0..calls {
        rights.push(ask(&control, call, "offer", from[call])?);
        lefts.push(ask(&control, call, "answer", to[call])?);
    }
    Ok(Set {
        left: Box::new(left.aim(lefts)),
        right: Box::new(right.aim(rights)),
        calls,
        manner: Manner::Looks,
        pid: process.id(),
        clock: Clock::start(),
        _keep: Box::new(process),
    })
}

fn wait_until_it_answers(control: &UdpSocket) -> Result<()> {
    for cookie in 0..50 {
        // Refused until it listens.
        let _ = control.send(format!("w{cookie} d7:command4:pinge").as_bytes());
        if control.recv(&mut [0; 2048]).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("rtpengine does not answer on {CONTROL}")
}

/// Offers or answers a call; returns where rtpengine wants the packets of the other side.
fn ask(control: &UdpSocket, number: usize, command: &str, media: SocketAddr) -> Result<SocketAddr> {
    let call_id = format!("bench-{number}");
    let sdp = describe(media);
    let fields = [
        ("ICE", "remove"),
        ("call-id", &call_id),
        ("command", command),
        ("from-tag", "caller"),
        ("sdp", &sdp),
        ("to-tag", "callee"),
    ];
    let mut request = format!("{number}{command} d");
    for (name, value) in fields {
        if !(name == "to-tag" && command == "offer") {
            write!(request, "{}:{name}{}:{value}", name.len(), value.len())?;
        }
    }
    request.push('e');
    let mut buffer = [0; 8192];
    for _ in 0..10 {
        control.send(request.as_bytes())?;
        if let Ok(length) = control.recv(&mut buffer) {
            let reply = String::from_utf8_lossy(&buffer[..length]).into_owned();
            // Answers to earlier pings and repeated requests may still come.
            if let Some(sdp) = reply.split_once("3:sdp").map(|(_, rest)| rest) {
                return target(sdp).with_context(|| format!("unreadable answer: {reply}"));
            }
        }
    }
    bail!("rtpengine does not answer the {command} of call {number}")
}
