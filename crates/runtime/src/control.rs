//! How `causeway status` and its kin reach a running process: a Unix socket, `control.sock` in its data
//! directory, open to its owner alone.
//!
//! One JSON object per line each way. A request is one of
//! * `{"command":"status"}`, answered by one status per worker;
//! * `{"command":"table","table":"aors","filter":"bob"}`, answered by `{node: rows, …}`;
//! * `{"command":"reload"}`: certificates, journals and settings are read again;
//! * `{"command":"drain"}`: a clean end.
//!
//! The answer is `{"version":1,"ok":true,"status":…}`, or `{"version":1,"ok":false,"error":"…"}`.

use crate::merge;
use crate::sys::set_mode;
use crate::tls::create_private_dir;
use crate::worker::Handle;
use causeway_node::Status;
use serde_json::json;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The socket's name in the data directory.
pub const FILE: &str = "control.sock";
/// The longest request line.
const LONGEST: u64 = 4096;
/// The longest answer that a client takes.
const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked of a running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The status of all workers.
    Status,
    /// One table of all nodes that have it.
    Table {
        /// Its name.
        table: String,
        /// A part of the key; empty for all rows.
        filter: String,
    },
    /// Certificates, journals and settings are read again; the answer comes when they are.
    Reload,
    /// A clean end; the answer comes at once, the end later.
    Drain,
}

impl Command {
    fn request(&self) -> Status {
        match self {
            Self::Status => json!({"command": "status"}),
            Self::Table { table, filter } => json!({"command": "table", "table": table, "filter": filter}),
            Self::Reload => json!({"command": "reload"}),
            Self::Drain => json!({"command": "drain"}),
        }
    }
}

/// Why a process cannot be reached, or does not do as it is told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens there.
    #[error("{0}: nothing runs with this data directory")]
    NotRunning(PathBuf),
    /// Something else runs there already.
    #[error("{0}: another process runs with this data directory")]
    Taken(PathBuf),
    /// The socket cannot be made, reached or used.
    #[error("{path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process answered that it cannot.
    #[error("{0}")]
    Refused(String),
}

/// Answers on the control socket as long as it lives.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
}

impl Server {
    /// Opens the socket in `dir`, which is made if it is missing, and answers for these workers on a thread
    /// of its own. A socket that a dead process has left is replaced.
    pub fn start(dir: &Path, workers: Vec<Handle>) -> Result<Self, Error> {
        Self::start_with(dir, workers, || Err("there is nothing to read again".to_owned()))
    }

    /// The same, with what is done at `reload`.
    pub fn start_with(
        dir: &Path,
        workers: Vec<Handle>,
        reload: impl Fn() -> Result<(), String> + Send + 'static,
    ) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let fail = |source| Error::Io { path: path.clone(), source };
        create_private_dir(dir).map_err(fail)?;
        match UnixStream::connect(&path) {
            Ok(_) => return Err(Error::Taken(dir.to_owned())),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(&path).map_err(fail)?
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(fail(e)),
        }
        let listener = listen(&path).map_err(fail)?;
        thread::Builder::new()
            .name("control".into())
            .spawn(move || serve(&listener, &workers, &reload))
            .map_err(fail)?;
        Ok(Self { path })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    set_mode(socket.as_fd(), 0o600)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(16)?;
    Ok(socket.into())
}

/// One client after the other: they are few, and each has a limited time.
fn serve(listener: &UnixListener, workers: &[Handle], reload: &dyn Fn() -> Result<(), String>) {
    loop {
        match listener.accept() {
            Ok((client, _)) => {
                if let Err(error) = answer(client, workers, reload) {
                    tracing::debug!("control: {error}");
                }
            }
            Err(error) => {
                tracing::warn!("control: {error}");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn answer(client: UnixStream, workers: &[Handle], reload: &dyn Fn() -> Result<(), String>) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&client).take(LONGEST)).read_line(&mut line)?;
    let request: Status = serde_json::from_str(&line).unwrap_or_default();
    let result = carry_out(&request, workers, reload);
    let mut reply = match result {
        Ok(status) => json!({"version": 1, "ok": true, "status": status}),
        Err(error) => json!({"version": 1, "ok": false, "error": error}),
    }
    .to_string();
    reply.push('\n');
    (&client).write_all(reply.as_bytes())
}

fn carry_out(
    request: &Status,
    workers: &[Handle],
    reload: &dyn Fn() -> Result<(), String>,
) -> Result<Status, String> {
    let word = |name| request.get(name).and_then(Status::as_str);
    let gone = |worker: &Handle| {
        let name = worker.name().to_owned();
        move |gone| format!("{name}: {gone}")
    };
    match word("command") {
        Some("status") => {
            merge::collect(workers, |w| w.status(PATIENCE).map_err(gone(w)), merge::add).map(Status::from)
        }
        Some("table") => {
            let table = word("table").ok_or("which table?")?;
            let mut all = serde_json::Map::new();
            let filter = word("filter").unwrap_or_default();
            let ask = |w: &Handle| w.table(table, filter, PATIENCE).map_err(gone(w));
            for found in merge::collect(workers, ask, merge::add)? {
                if let Status::Object(found) = found {
                    all.extend(found);
                }
            }
            if all.is_empty() { Err(format!("nothing here has a table `{table}`")) } else { Ok(all.into()) }
        }
        Some("reload") => reload().map(|()| Status::Null),
        Some("drain") => {
            workers.iter().for_each(Handle::drain);
            Ok(Status::Null)
        }
        _ => Err("unknown request: the command must be status, table, reload or drain".to_owned()),
    }
}

/// Asks the process that runs with `dir`. The answer is what [the module](self) says.
pub fn request(dir: &Path, command: Command) -> Result<Status, Error> {
    let path = dir.join(FILE);
    let fail = |source| Error::Io { path: path.clone(), source };
    let socket = match UnixStream::connect(&path) {
        Ok(socket) => socket,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(Error::NotRunning(dir.to_owned()));
        }
        Err(e) => return Err(fail(e)),
    };
    socket.set_read_timeout(Some(2 * PATIENCE)).map_err(fail)?;
    let line = command.request().to_string() + "\n";
    (&socket).write_all(line.as_bytes()).map_err(fail)?;
    let mut reply = String::new();
    BufReader::new((&socket).take(LONGEST_ANSWER)).read_line(&mut reply).map_err(fail)?;
    let reply: Status = serde_json::from_str(&reply).map_err(|e| fail(io::Error::other(e)))?;
    match reply.get("ok").and_then(Status::as_bool) {
        Some(true) => Ok(reply.get("status").cloned().unwrap_or_default()),
        _ => Err(Error::Refused(
            reply.get("error").and_then(Status::as_str).unwrap_or("the answer makes no sense").to_owned(),
        )),
    }
}
