//! Causeway's own processes.

use crate::kamailio::DOMAIN;
use crate::lab::{CORE, EDGE_INSIDE, Host, Lab, TUNNEL, output};
use crate::process::{Mark, PATIENCE, Process, until};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Ports for media towards the operator.
const MEDIA: &str = "20000-20999";

/// The program under test.
#[derive(Clone, Debug)]
pub struct Binary(PathBuf, Option<String>);

impl Binary {
    /// The one that `CAUSEWAY` names.
    ///
    /// # Errors
    /// If the variable is missing, or names no file.
    pub fn from_env() -> Result<Self> {
        let path = std::env::var_os("CAUSEWAY").map(PathBuf::from);
        let path = path.context("CAUSEWAY must name the program to test; `cargo xtask interop` does so")?;
        ensure!(path.is_file(), "CAUSEWAY: {} is no file", path.display());
        let workers = std::env::var("CAUSEWAY_WORKERS").ok().filter(|count| !count.is_empty());
        Ok(Self(std::path::absolute(path)?, workers))
    }

    /// The option by which every exchange and contact point is told on how many threads to run, if `CAUSEWAY_WORKERS`
    /// says so: any case can be run with several.
    pub fn workers<'a>(&'a self, option: &'a str) -> impl Iterator<Item = &'a str> {
        self.1.iter().flat_map(move |count| [option, count])
    }

    /// `causeway --version`.
    pub fn version(&self) -> Option<String> {
        output(Command::new(&self.0).arg("--version")).ok().map(|text| text.trim().to_owned())
    }

    /// Starts a contact point before Kamailio.
    ///
    /// # Errors
    /// If its ports do not open.
    pub fn contact(&self, lab: &Lab, dir: &Path, path: bool) -> Result<Causeway> {
        self.contact_on(lab, dir, TUNNEL, path)
    }

    /// The same with more options.
    ///
    /// # Errors
    /// If its ports do not open.
    pub fn contact_more(&self, lab: &Lab, dir: &Path, options: &[&str]) -> Result<Causeway> {
        self.contact_named(lab, dir, "contact", (TUNNEL, 5060, MEDIA), options)
    }

    /// A contact point before Kamailio under a name of its own: where agents connect, its port towards the server, the
    /// range of its media ports.
    ///
    /// # Errors
    /// If its ports do not open.
    pub fn contact_named(
        &self,
        lab: &Lab,
        dir: &Path,
        name: &str,
        (tunnel, port, range): (&str, u16, &str),
        options: &[&str],
    ) -> Result<Causeway> {
        let (sip, media) = (format!("{EDGE_INSIDE}:{port}"), format!("{EDGE_INSIDE}:{range}"));
        let upstream = format!("sip:{CORE}:5060");
        let mut args =
            vec!["contact", "--tunnel", tunnel, "--sip", &sip, "--upstream", &upstream, "--media", &media];
        args.extend(options);
        self.start(lab, Host::Edge, dir, name, &args)
    }

    /// The same, where agents connect elsewhere.
    ///
    /// # Errors
    /// If its ports do not open.
    pub fn contact_on(&self, lab: &Lab, dir: &Path, tunnel: &str, path: bool) -> Result<Causeway> {
        let (sip, media) = (format!("{EDGE_INSIDE}:5060"), format!("{EDGE_INSIDE}:{MEDIA}"));
        let upstream = format!("sip:{CORE}:5060");
        let mut args =
            vec!["contact", "--tunnel", tunnel, "--sip", &sip, "--upstream", &upstream, "--media", &media];
        if path {
            args.push("--path");
        }
        args.extend(self.workers("--workers"));
        self.start(lab, Host::Edge, dir, "contact", &args)
    }

    /// Starts a contact point of which only the tunnel's end matters, with other options.
    ///
    /// # Errors
    /// If its ports do not open.
    pub fn contact_with(&self, lab: &Lab, dir: &Path, tunnel: &str, options: &[&str]) -> Result<Causeway> {
        let (sip, media) = (format!("{EDGE_INSIDE}:5064"), format!("{EDGE_INSIDE}:22000-22099"));
        let upstream = format!("sip:{CORE}:5060");
        let mut args =
            vec!["contact", "--tunnel", tunnel, "--sip", &sip, "--upstream", &upstream, "--media", &media];
        args.extend(options);
        self.start(lab, Host::Edge, dir, "contact", &args)
    }

    /// Starts the operator in one process.
    ///
    /// # Errors
    /// If its ports do not open.
    pub fn up(&self, lab: &Lab, dir: &Path) -> Result<Causeway> {
        self.up_with(lab, dir, &[])
    }

    /// The same with more options.
    ///
    /// # Errors
    /// If its ports do not open.
    pub fn up_with(&self, lab: &Lab, dir: &Path, options: &[&str]) -> Result<Causeway> {
        let (sip, media) = (format!("{EDGE_INSIDE}:5060"), format!("{EDGE_INSIDE}:{MEDIA}"));
        let mut args = vec!["up", "--domain", DOMAIN, "--sip", &sip, "--tunnel", TUNNEL, "--media", &media];
        args.extend(
            self.workers("--workers").chain(self.workers("--media-workers")).chain(options.iter().copied()),
        );
        self.start(lab, Host::Edge, dir, "up", &args)
    }

    /// Starts an exchange in the operator's core, with more settings and options.
    ///
    /// # Errors
    /// If its ports do not open.
    pub fn exchange(&self, lab: &Lab, dir: &Path, settings: &str, options: &[&str]) -> Result<Causeway> {
        let file = dir.join("exchange.toml");
        std::fs::write(&file, settings).with_context(|| file.display().to_string())?;
        let (file, sip) = (file.to_string_lossy().into_owned(), format!("{CORE}:5060"));
        let mut args = vec!["exchange", "--config", &file, "--domain", DOMAIN, "--sip", &sip];
        args.extend(self.workers("--workers").chain(options.iter().copied()));
        self.start(lab, Host::Core, dir, "exchange", &args)
    }

    /// Starts an agent, which phones find at `listen`.
    ///
    /// # Errors
    /// If its ports do not open.
    pub fn agent(&self, lab: &Lab, dir: &Path, host: Host, listen: &str, pin: &str) -> Result<Causeway> {
        let (name, contact) = (format!("agent-on-{}", host.name()), TUNNEL.trim_end_matches(":443"));
        self.agent_by(lab, dir, &Way { name: &name, host, listen, contact, pin, options: &[] })
    }

    /// Starts an agent that takes another way out, or has other options.
    ///
    /// # Errors
    /// If its ports do not open.
    pub fn agent_by(&self, lab: &Lab, dir: &Path, way: &Way<'_>) -> Result<Causeway> {
        let mut args = vec!["agent", "--contact", way.contact, "--listen", way.listen];
        if !way.pin.is_empty() {
            args.extend(["--pin", way.pin]);
        }
        args.extend(way.options);
        self.start(lab, way.host, dir, way.name, &args)
    }

    /// Adds a subscriber to the database in `data`.
    ///
    /// # Errors
    /// If it is refused.
    pub fn subscriber(&self, data: &Path, user: &str, password: &str) -> Result<()> {
        let uri = format!("sip:{user}@{DOMAIN}");
        let mut command = Command::new(&self.0);
        command.args(["subscriber", "add", &uri, "--password-stdin", "--data"]).arg(data);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("no standard input")?.write_all(format!("{password}\n").as_bytes())?;
        let done = child.wait_with_output()?;
        ensure!(
            done.status.success(),
            "subscriber add {uri}: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        );
        // A running exchange looks every 100 ms whether another process has changed the database.
        std::thread::sleep(std::time::Duration::from_millis(150));
        Ok(())
    }

    /// Adds the subscribers of a CSV file to the database in `data`.
    ///
    /// # Errors
    /// If they are refused.
    pub fn import(&self, data: &Path, file: &Path) -> Result<()> {
        output(self.command().args(["subscriber", "import"]).arg(file).arg("--data").arg(data)).map(drop)
    }

    /// The program.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A command line that begins with the program.
    pub fn command(&self) -> Command {
        Command::new(&self.0)
    }

    /// Starts it with arguments of the case's own.
    ///
    /// # Errors
    /// If its ports do not open.
    pub fn start(&self, lab: &Lab, host: Host, dir: &Path, name: &str, args: &[&str]) -> Result<Causeway> {
        let data = dir.join(name);
        let data_text = data.to_string_lossy().into_owned();
        let program = self.0.to_string_lossy();
        let mut all = vec!["--log", "debug"];
        all.extend(args);
        // Its standard output is a pipe that we read anyway.
        all.extend(["--data", &data_text, "--ready-fd", "1"]);
        let process = Process::start(lab, host, dir, name, &program, &all)?;
        process.wait("READY=1", Mark::default(), PATIENCE)?;
        Ok(Causeway { binary: self.clone(), process, data })
    }
}

/// Where an agent runs, and how it gets out.
pub struct Way<'a> {
    /// Name of its folder and log.
    pub name: &'a str,
    /// Its host.
    pub host: Host,
    /// Where phones find it.
    pub listen: &'a str,
    /// `--contact`.
    pub contact: &'a str,
    /// `--pin`; empty for none.
    pub pin: &'a str,
    /// Further options.
    pub options: &'a [&'a str],
}

/// A running `contact`, `up` or `agent`.
pub struct Causeway {
    binary: Binary,
    process: Process,
    data: PathBuf,
}

impl Causeway {
    /// The pin that it has printed.
    ///
    /// # Errors
    /// If it has not.
    pub fn pin(&self) -> Result<String> {
        let line = self.process.wait("pin: ", Mark::default(), PATIENCE)?;
        Ok(line.trim_start_matches("pin: ").to_owned())
    }

    /// Its folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until this agent's tunnel is up.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn up(&self) -> Result<()> {
        until(PATIENCE, || {
            let status = self.status("agent")?;
            ensure!(status["state"] == "up", "the tunnel is not up: {status}");
            Ok(())
        })
    }

    /// The status of one of its nodes: `contact`, `agent` or `exchange`; of several side by side, all of them in one.
    ///
    /// # Errors
    /// If it does not answer, or has no such node.
    pub fn status(&self, node: &str) -> Result<Value> {
        let mut command = Command::new(&self.binary.0);
        let text = output(command.args(["status", "--json", "--data"]).arg(&self.data))?;
        let status: Value = serde_json::from_str(&text).with_context(|| format!("status: {text}"))?;
        let workers = status["workers"].as_array().into_iter().flatten();
        let found = workers.filter_map(|worker| worker["nodes"].get(node)).next();
        found.cloned().with_context(|| format!("no node `{node}` in {text}"))
    }
}
