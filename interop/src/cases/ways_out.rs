//! Narrow ways out: an HTTP proxy, a name that moves, a tunnel that is there only when needed.

use super::dns::Resolver;
use crate::baresip::{Account, Baresip};
use crate::causeway::{Causeway, Way};
use crate::kamailio::{Kamailio, PathSupport};
use crate::lab::{self, AGENT, CORE, Firewall, Host, TUNNEL};
use crate::process::{PATIENCE, Process, signal, until};
use crate::scene::{Bench, Scene, Side, hang_up, talk};
use anyhow::{Result, ensure};
use std::time::Duration;

/// The customer's router, from within.
const ROUTER: &str = "192.168.1.1";
/// The port of its HTTP proxy.
pub(super) const PROXY_PORT: u16 = 8888;
/// Its password.
const PASSWORD: &str = "letmeout";
/// Another public address of the operator's edge.
const MOVED: &str = "203.0.113.11";
/// The name of the contact point.
const NAME: &str = "contact.op.example";

/// An operator with Kamailio, and a customer B like all others.
fn operator(bench: &Bench<'_>, tunnel: &str) -> Result<(Kamailio, Causeway, Causeway)> {
    let Bench { lab, dir, binary, .. } = *bench;
    let kamailio = Kamailio::start(lab, dir, Host::Core, CORE, PathSupport::Off)?;
    let contact = binary.contact_on(lab, dir, tunnel, false)?;
    let pin = contact.pin()?;
    let agent = binary.agent(lab, dir, Host::AgentB, &format!("{AGENT}:5060"), &pin)?;
    agent.up()?;
    Ok((kamailio, contact, agent))
}

fn agent_a(bench: &Bench<'_>, name: &str, pin: &str, contact: &str, options: &[&str]) -> Result<Causeway> {
    let listen = format!("{AGENT}:5060");
    let way = Way { name, host: Host::AgentA, listen: &listen, contact, pin, options };
    bench.binary.agent_by(bench.lab, bench.dir, &way)
}

/// An HTTP proxy that wants a password is the only way out of the first customer's network.
pub fn proxy(bench: &Bench<'_>) -> Result<String> {
    let (kamailio, contact, agent_b) = operator(bench, TUNNEL)?;
    let pin = contact.pin()?;
    bench.lab.firewall(Host::NatA, Firewall::OnlyProxy(PROXY_PORT))?;
    let result = behind_proxy(bench, &pin, (kamailio, contact, agent_b));
    bench.lab.firewall(Host::NatA, Firewall::OnlyHttps)?;
    result
}

fn behind_proxy(
    bench: &Bench<'_>,
    pin: &str,
    (kamailio, contact, agent_b): (Kamailio, Causeway, Causeway),
) -> Result<String> {
    let _tinyproxy = tinyproxy(bench)?;
    let contact_at = TUNNEL.trim_end_matches(":443");
    let url = |password: &str| format!("http://office:{password}@{ROUTER}:{PROXY_PORT}");
    // The controls: without the proxy there is no way out, and with a wrong password none through it.
    let direct = agent_a(bench, "agent-direct", pin, contact_at, &[])?;
    std::thread::sleep(Duration::from_secs(5));
    let status = direct.status("agent")?;
    ensure!(status["state"] != "up", "the control: an agent gets out without the proxy: {status}");
    drop(direct);
    let stranger = agent_a(bench, "agent-wrong", pin, contact_at, &["--proxy", &url("wrong")])?;
    let wrong = until(PATIENCE, || {
        let status = stranger.status("agent")?;
        let why = status["last_failure"].as_str().unwrap_or_default().to_owned();
        ensure!(
            why.contains("wants a user and a password, or other ones"),
            "a wrong password for the proxy: {status}"
        );
        Ok(why)
    })?;
    drop(stranger);
    let agent = agent_a(bench, "agent-proxied", pin, contact_at, &["--proxy", &url(PASSWORD)])?;
    agent.up()?;
    let scene = Scene::of(bench, contact, Some(kamailio), [agent, agent_b]);
    let heard = super::calls::both_ways(bench, &scene, scene.phone(Side::A)?, scene.phone(Side::B)?)?;
    let sockets = bench.lab.output(Host::AgentA, "ss", &["-H", "-t", "-n", "-p"])?;
    let out: Vec<&str> = sockets.lines().filter(|line| line.contains("causeway")).collect();
    ensure!(
        out.len() == 1 && out[0].contains(&format!("{ROUTER}:{PROXY_PORT}")),
        "the agent must have one connection, to the proxy: {out:?}"
    );
    Ok(format!("{heard}; control: {wrong}"))
}

pub(super) fn tinyproxy(bench: &Bench<'_>) -> Result<Process> {
    let conf = bench.dir.join("tinyproxy.conf");
    let text = format!(
        "Port {PROXY_PORT}\nListen {ROUTER}\nTimeout 600\nMaxClients 20\nConnectPort 443\nBasicAuth office {PASSWORD}\n"
    );
    std::fs::write(&conf, text)?;
    let process = Process::start(
        bench.lab,
        Host::NatA,
        bench.dir,
        "tinyproxy",
        "tinyproxy",
        &["-d", "-c", &conf.to_string_lossy()],
    )?;
    until(PATIENCE, || {
        let sockets = bench.lab.output(Host::NatA, "ss", &["-H", "-l", "-n", "-t"])?;
        ensure!(sockets.contains(&format!("{ROUTER}:{PROXY_PORT}")), "tinyproxy does not listen");
        Ok(())
    })?;
    Ok(process)
}

/// The customer's resolver gives another address for the contact point while the tunnel is up; then the old one
/// goes away.
pub fn moving_name(bench: &Bench<'_>) -> Result<String> {
    let Bench { lab, dir, .. } = *bench;
    // Else the second address would go with the first.
    lab.output(Host::Edge, "sysctl", &["-q", "-w", "net.ipv4.conf.wan.promote_secondaries=1"])?;
    lab.output(Host::Edge, "ip", &["addr", "add", &format!("{MOVED}/24"), "dev", "wan"])?;
    let (kamailio, contact, agent_b) = operator(bench, "0.0.0.0:443")?;
    let pin = contact.pin()?;
    let names = dir.join("names");
    let say = |address: &str| std::fs::write(&names, format!("{address} {NAME}\n"));
    say(TUNNEL.trim_end_matches(":443"))?;
    let _resolver = Resolver::new(&lab.namespace(Host::AgentA), ROUTER)?;
    let mut dnsmasq = name_server(bench, &names)?;
    let agent = agent_a(bench, "agent-named", &pin, NAME, &[])?;
    agent.up()?;
    let scene = Scene::of(bench, contact, Some(kamailio), [agent, agent_b]);
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut alice, &mut bob, 1)?;
    hang_up(&mut alice, &bob)?;

    say(MOVED)?;
    signal(dnsmasq.pid(), "-HUP");
    let old = format!("{}/24", TUNNEL.trim_end_matches(":443"));
    lab.output(Host::Edge, "ip", &["addr", "del", &old, "dev", "wan"])?;
    let back = moved(bench, &scene, &mut alice);
    lab.output(Host::Edge, "ip", &["addr", "add", &old, "dev", "wan"])?;
    lab.output(Host::Edge, "ip", &["addr", "del", &format!("{MOVED}/24"), "dev", "wan"])?;
    drop(dnsmasq.terminate(PATIENCE));
    back
}

fn moved(bench: &Bench<'_>, scene: &Scene<'_>, alice: &mut Baresip) -> Result<String> {
    until(Duration::from_secs(60), || {
        let status = scene.agent(Side::A).status("agent")?;
        let peer = status["tunnels"][0]["peer"].as_str().unwrap_or_default().to_owned();
        ensure!(
            status["state"] == "up" && peer.starts_with(MOVED),
            "the agent is not at the new address: {status}"
        );
        Ok(())
    })?;
    let status = scene.operator.status("contact")?;
    let live = status["registrations"].as_array().into_iter().flatten();
    let alices = live.filter(|row| row["aor"].as_str().is_some_and(|aor| aor.contains("alice")));
    ensure!(
        alices.clone().any(|row| row["tunnel"].is_string()),
        "Alice's registration did not come along: {status}"
    );
    // Bob's agent knows the old address alone, so that a phone inside the operator's network calls her.
    let (says, proxy) = (bench.voice(Side::B)?, format!("{CORE}:5060"));
    let account = Account::new("carol", &proxy, &says);
    let mut carol = Baresip::registered(bench.lab, bench.dir, Host::InsideA, &account)?;
    talk(&mut carol, alice, 3)?;
    hang_up(&mut carol, alice)?;
    let heard = bench.understood(&carol, Side::A)?;
    Ok(format!("the tunnel has moved to {MOVED}; a call to the phone behind it: {heard}"))
}

/// A name server on the customer's router, which reads `names` again at SIGHUP.
fn name_server(bench: &Bench<'_>, names: &std::path::Path) -> Result<Process> {
    let (listen, hosts) = (format!("--listen-address={ROUTER}"), format!("--addn-hosts={}", names.display()));
    let args = [
        "--no-daemon",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--pid-file=",
        "--user=root",
        &listen,
        &hosts,
    ];
    let process = Process::start(bench.lab, Host::NatA, bench.dir, "dnsmasq", "dnsmasq", &args)?;
    until(PATIENCE, || {
        let sockets = bench.lab.output(Host::NatA, "ss", &["-H", "-l", "-n", "-u"])?;
        ensure!(sockets.contains(&format!("{ROUTER}:53")), "dnsmasq does not listen; its log says why");
        Ok(())
    })?;
    Ok(process)
}

/// No connection before the first request, and none after the last registration has ended.
pub fn on_demand(bench: &Bench<'_>) -> Result<String> {
    let nats = [Host::NatA, Host::Carrier];
    let (kamailio, contact, agent_b) = operator(bench, TUNNEL)?;
    let pin = contact.pin()?;
    // What an agent of an earlier case has left unacknowledged, the system repeats for a minute after its end.
    bench.lab.output(Host::AgentA, "ss", &["-K", "-t", "dport", "=", "443"])?;
    nats.iter().try_for_each(|&nat| lab::conntrack_flush(bench.lab, nat))?;
    let agent =
        agent_a(bench, "agent-on-demand", &pin, TUNNEL.trim_end_matches(":443"), &["--on-demand", "3"])?;
    std::thread::sleep(Duration::from_secs(3));
    let established = |nat: Host| -> Result<usize> {
        let entries = lab::conntrack(bench.lab, nat)?;
        Ok(entries.iter().filter(|entry| entry.contains("ESTABLISHED")).count())
    };
    for nat in nats {
        let entries = lab::conntrack(bench.lab, nat)?;
        ensure!(entries.is_empty(), "{} knows of a connection before anybody asked: {entries:?}", nat.name());
    }
    let scene = Scene::of(bench, contact, Some(kamailio), [agent, agent_b]);
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut bob, &mut alice, 3)?;
    hang_up(&mut bob, &alice)?;
    ensure!(established(Host::NatA)? == 1, "a registered phone must be reachable");
    let heard = bench.both_understood(&alice, &bob)?;
    // baresip ends its registration when it quits.
    alice.command("quit")?;
    until(PATIENCE, || {
        let left = established(Host::NatA)? + established(Host::Carrier)?;
        ensure!(left == 0, "{left} connections are left");
        Ok(())
    })?;
    let state = scene.agent(Side::A).status("agent")?["state"].clone();
    ensure!(state.as_str().is_some_and(|state| state.starts_with("idle")), "the agent is {state}");
    Ok(format!("no connection before and after; {heard}"))
}
