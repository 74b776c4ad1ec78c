//! rtpengine in user space, driven over its control protocol.

use crate::load::{Call, Load, describe, target};
use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const CONTROL: &str = "127.0.0.1:22222";

/// A running rtpengine with calls set up.
pub struct Relay {
    child: Child,
    calls: Vec<Call>,
}

impl Relay {
    pub fn start(count: usize, load: &Load) -> Result<Self> {
        let child = Command::new("rtpengine")
            .args(["--foreground", "--table=-1", "--interface=127.0.0.1", "--log-level=1"])
            .args(["--port-min=30000", "--port-max=39999", &format!("--listen-ng={CONTROL}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start rtpengine; install Debian's rtpengine-daemon")?;
        let mut relay = Self { child, calls: Vec::new() };
        let control = UdpSocket::bind("127.0.0.1:0")?;
        control.set_read_timeout(Some(Duration::from_millis(200)))?;
        control.connect(CONTROL)?;
        wait_until_it_answers(&control)?;
        for number in 0..count {
            let right = ask(&control, number, "offer", load.left()?)?;
            let left = ask(&control, number, "answer", load.right()?)?;
            relay.calls.push(Call { left, right });
        }
        Ok(relay)
    }

    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
