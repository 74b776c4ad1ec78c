//! A device in the path that opens TLS, with a certificate that the agent trusts.

use crate::causeway::{Causeway, Way};
use crate::kamailio::DOMAIN;
use crate::lab::{AGENT, Firewall, Host, TUNNEL, output};
use crate::process::{Mark, PATIENCE, Process, until};
use crate::scene::{Bench, Scene, Side, hang_up, talk};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the inspector listens, on the carrier's router.
const PORT: &str = "8443";
/// What agent, status and doctor say of it.
const VERDICT: &str = "the two ends do not share one TLS connection";

/// Keys made of HA1 show the inspector, and the agent refuses it; keys made of the header alone do not promise that,
/// and the status says so.
pub fn intercepted(bench: &Bench<'_>) -> Result<String> {
    let Bench { lab, dir, binary, .. } = *bench;
    certificates(dir)?;
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let up = binary.up_with(lab, dir, &["--cert", &file("real.pem"), "--key", &file("real.key")])?;
    for side in [Side::A, Side::B] {
        binary.subscriber(up.data(), side.user(), "secret")?;
    }
    let agent_b = binary.agent(lab, dir, Host::AgentB, &format!("{AGENT}:5060"), &up.pin()?)?;
    agent_b.up()?;
    let account = account(dir)?;
    let strict = ["--ca", &file("roots.pem"), "--account", &account.to_string_lossy()];

    // The control: with nobody in between the same agent has the best key there is.
    let agent = agent_a(bench, "agent-direct", &strict)?;
    let scene = Scene::of(bench, up, None, [agent, agent_b]);
    let alice = scene.phone(Side::A)?;
    assured(scene.agent(Side::A), "digest")?;
    doctor(bench, &strict).context("the control: doctor without an inspector")?;
    drop(alice);
    let Scene { operator, agents: [direct, agent_b], .. } = scene;
    drop(direct);

    let inspector = Inspector::start(bench)?;
    let agent = agent_a(bench, "agent-strict", &strict)?;
    let scene = Scene::of(bench, operator, None, [agent, agent_b]);
    let refused = refused(bench, &scene, &strict).context("with a password in the account file")?;
    let read = ["REGISTER sip:", "Authorization: Digest"];
    ensure!(
        read.iter().all(|what| inspector.process.has(what, Mark::default())),
        "the control: the inspector has read nothing"
    );
    let Scene { operator, agents: [strict, agent_b], .. } = scene;
    drop(strict);

    let agent = agent_a(bench, "agent-lenient", &["--ca", &file("roots.pem")])?;
    let scene = Scene::of(bench, operator, None, [agent, agent_b]);
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut alice, &mut bob, 3)?;
    ensure!(inspector.process.has("INVITE sip:", Mark::default()), "the call has not passed the inspector");
    let status = scene.agent(Side::A).status("agent")?;
    let protection = status["registrations"][0]["protection"].as_str().unwrap_or_default().to_owned();
    ensure!(protection.contains("not protected against interception of the tunnel"), "status says {status}");
    hang_up(&mut alice, &bob)?;
    let heard = bench.both_understood(&alice, &bob)?;
    Ok(format!("digest: {refused}; without a password: {heard}, and status says \"{protection}\""))
}

/// The agent takes its tunnel down, says why, and no call begins; doctor names it as well.
fn refused(bench: &Bench<'_>, scene: &Scene<'_>, strict: &[&str]) -> Result<String> {
    let agent = scene.agent(Side::A);
    agent.up()?;
    let (mut alice, bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    until(PATIENCE, || {
        let status = agent.status("agent")?;
        let why = status["last_failure"].as_str().unwrap_or_default();
        ensure!(status["state"] != "up" && why.contains(VERDICT), "the agent has not refused: {status}");
        Ok(())
    })?;
    let (dialled, rings) = (alice.dial(&bob.uri())?, bob.mark());
    let closed = alice.wait("session closed", dialled)?;
    ensure!(!bob.has("call", rings), "Bob is called through an intercepted tunnel");
    let said = match doctor(bench, strict) {
        Ok(text) => anyhow::bail!("doctor finds nothing wrong:\n{text}"),
        Err(error) => format!("{error:#}"),
    };
    ensure!(said.contains(VERDICT), "doctor says:\n{said}");
    Ok(format!(
        "refused, doctor names it, the call ended with{}",
        closed.rsplit("closed:").next().unwrap_or(&closed)
    ))
}

fn doctor(bench: &Bench<'_>, strict: &[&str]) -> Result<String> {
    let program = bench.binary.path().to_string_lossy();
    let mut command = bench.lab.on(Host::AgentA, &program);
    let done = command.args(["doctor", "--contact", TUNNEL]).args(strict).output()?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
    ensure!(text.contains("assurance digest"), "{text}");
    Ok(text)
}

fn agent_a(bench: &Bench<'_>, name: &str, options: &[&str]) -> Result<Causeway> {
    let (listen, contact) = (format!("{AGENT}:5060"), TUNNEL.trim_end_matches(":443"));
    let way = Way { name, host: Host::AgentA, listen: &listen, contact, pin: "", options };
    let agent = bench.binary.agent_by(bench.lab, bench.dir, &way)?;
    agent.up()?;
    Ok(agent)
}

fn assured(agent: &Causeway, least: &str) -> Result<()> {
    until(PATIENCE, || {
        let status = agent.status("agent")?;
        ensure!(status["registrations"][0]["assurance"] == least, "no key of assurance {least}: {status}");
        Ok(())
    })
}

fn account(dir: &Path) -> Result<PathBuf> {
    let (path, user) = (dir.join("account.toml"), Side::A.user());
    let text = format!("uri = \"sip:{user}@{DOMAIN}\"\npassword = \"secret\"\nmin_assurance = \"digest\"\n");
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// The inspector, in the path of the first customer as long as it lives.
pub(super) struct Inspector<'a> {
    bench: &'a Bench<'a>,
    process: Process,
}

impl<'a> Inspector<'a> {
    pub(super) fn start(bench: &'a Bench<'a>) -> Result<Self> {
        let Bench { lab, dir, .. } = *bench;
        let script = dir.join("inspector.py");
        fs::write(&script, include_str!("../../scenarios/inspector.py"))?;
        let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let (script, cert, key) = (script.to_string_lossy(), file("middle.pem"), file("middle.key"));
        let args = [&*script, &cert, &key, PORT, TUNNEL];
        let process = Process::start(lab, Host::Carrier, dir, "inspector", "python3", &args)?;
        process.wait("listening", Mark::default(), PATIENCE)?;
        let ip = TUNNEL.trim_end_matches(":443");
        let rule = format!(
            "add table ip inspect; add chain ip inspect pre {{ type nat hook prerouting priority -110; }}; \
             add rule ip inspect pre ip daddr {ip} tcp dport 443 redirect to :{PORT}; \
             insert rule inet lab input iifname \"sub\" tcp dport {PORT} accept"
        );
        lab.output(Host::Carrier, "nft", &[&rule])?;
        Ok(Self { bench, process })
    }
}

impl Drop for Inspector<'_> {
    fn drop(&mut self) {
        // The network goes away with the case at the latest.
        let _ = self.bench.lab.output(Host::Carrier, "nft", &["delete table ip inspect"]);
        // As it was at first: a carrier lets everything out.
        let _ = self.bench.lab.firewall(Host::Carrier, Firewall::Open);
    }
}

/// The operator's certificate and the inspector's, each by a root of its own, and a file with both roots.
pub(super) fn certificates(dir: &Path) -> Result<()> {
    let openssl = |args: &str| output(Command::new("openssl").current_dir(dir).args(args.split(' ')));
    let ip = TUNNEL.trim_end_matches(":443");
    fs::write(dir.join("names"), format!("subjectAltName=IP:{ip}\n"))?;
    let mut roots = String::new();
    for name in ["real", "middle"] {
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN={name}-root -keyout \
             {name}-ca.key -out {name}-ca.pem"
        ))?;
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ))?;
        openssl(&format!(
            "x509 -req -in {name}.csr -CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial -days 30 -extfile names \
             -out {name}.pem"
        ))?;
        roots.push_str(&fs::read_to_string(dir.join(format!("{name}-ca.pem")))?);
    }
    fs::write(dir.join("roots.pem"), roots)?;
    Ok(())
}
