//! Running roles until they are told to stop: readiness, signals, control socket.

use crate::exit::{Failure, Kind, Outcome};
use crate::reload::Reload;
use causeway_runtime::control::Server as Control;
use causeway_runtime::{Handle, Worker, metrics};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long ports may take to open.
const OPENING: Duration = Duration::from_secs(10);
/// How long calls may take to end after SIGTERM, unless told.
pub const DRAINING: Duration = Duration::from_secs(30);
/// How long the last lines of a journal may take.
const FLUSHING: Duration = Duration::from_secs(10);

/// What wakes the main thread.
enum News {
    Signal(i32),
    Ended(Result<(), String>),
}

/// Roles that run together.
pub struct Service<'a> {
    /// Their workers.
    pub workers: Vec<Worker>,
    /// The folder of the control socket.
    pub data: &'a Path,
    /// Where readiness is written.
    pub ready_fd: Option<i32>,
    /// What is read again at SIGHUP.
    pub reload: Reload,
    /// How long calls may take to end after SIGTERM.
    pub drain_grace: Duration,
    /// Where figures are served.
    pub metrics: Option<SocketAddr>,
}

impl Service<'_> {
    /// Runs until SIGTERM or SIGINT, or until a worker ends. `ready` is called once all ports are open.
    ///
    /// # Errors
    /// If a port cannot be opened, or a worker has failed.
    pub fn run(self, ready: impl FnOnce()) -> Outcome {
        let (sender, news) = channel();
        let handles = start(self.workers, &sender)?;
        let reload = Arc::new(self.reload);
        let again = {
            let (reload, handles) = (Arc::clone(&reload), handles.clone());
            move || reload.run(&handles)
        };
        let control = Control::start_with(self.data, handles.clone(), again)
            .map_err(|error| Failure::unreachable(error.to_string()))?;
        let metrics = self.metrics.map(|address| {
            metrics::Server::start(address, handles.clone())
                .map_err(|error| Failure::unreachable(format!("--metrics {address}: {error}")))
        });
        let metrics = metrics.transpose()?;
        ready();
        // Whoever hears that we are ready may send a signal at once.
        watch_signals(sender)?;
        announce(self.ready_fd)?;
        let outcome = serve(&handles, &news, &reload, self.drain_grace);
        drop((control, metrics));
        reload.journals.iter().for_each(|journal| journal.flush(FLUSHING));
        outcome
    }
}

/// Starts workers and waits until all their ports are open.
fn start(workers: Vec<Worker>, news: &Sender<News>) -> Result<Vec<Handle>, Failure> {
    let mut handles = Vec::new();
    for worker in workers {
        let (handle, thread) = worker.spawn().map_err(|error| Failure::unreachable(error.to_string()))?;
        let news = news.clone();
        thread::spawn(move || {
            let ended = match thread.join() {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err("a worker has panicked; the log says where".to_owned()),
            };
            // If nobody listens any more, the process is on its way out.
            let _ = news.send(News::Ended(ended));
        });
        handle.ready(OPENING).map_err(Failure::unreachable)?;
        handles.push(handle);
    }
    Ok(handles)
}

fn watch_signals(news: Sender<News>) -> Outcome {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| Failure::unreachable(format!("cannot watch signals: {error}")))?;
    thread::spawn(move || {
        for signal in signals.forever() {
            if news.send(News::Signal(signal)).is_err() {
                break;
            }
        }
    });
    Ok(())
}

fn serve(handles: &[Handle], news: &Receiver<News>, reload: &Reload, grace: Duration) -> Outcome {
    loop {
        match news.recv() {
            Ok(News::Signal(SIGHUP)) => match reload.run(handles) {
                Ok(()) => match reload.what() {
                    Some(what) => tracing::info!("{what} have been read again"),
                    None => tracing::warn!(
                        "there is nothing here that is read again: other options need a restart"
                    ),
                },
                Err(why) => tracing::error!("what cannot be read stays as it was: {why}"),
            },
            Ok(News::Signal(signal)) => return drain(handles, news, signal, grace),
            Ok(News::Ended(Err(why))) => return Err(Failure::unreachable(why)),
            // Told to drain over the control socket.
            Ok(News::Ended(Ok(()))) | Err(_) => return Ok(()),
        }
    }
}

/// Lets calls end; a second signal, or the end of their grace, ends them.
fn drain(handles: &[Handle], news: &Receiver<News>, signal: i32, grace: Duration) -> Outcome {
    let seconds = grace.as_secs();
    tracing::info!(
        "ending: no new calls; those under way have {seconds} s, another signal ends them at once"
    );
    let until = Instant::now() + grace;
    handles.iter().for_each(Handle::drain);
    let mut running = handles.len();
    while running > 0 {
        match news.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(News::Ended(_)) => running -= 1,
            Ok(News::Signal(SIGHUP)) => {}
            Ok(News::Signal(_)) | Err(_) => break,
        }
    }
    handles.iter().for_each(Handle::stop);
    match signal {
        SIGINT => Err(Failure::new(Kind::Interrupted, "interrupted")),
        _ => Ok(()),
    }
}

/// Says that all ports are open: to `--ready-fd`, and to a service manager (sd_notify).
fn announce(ready_fd: Option<i32>) -> Outcome {
    if let Some(fd) = ready_fd {
        std::fs::OpenOptions::new()
            .write(true)
            .open(format!("/dev/fd/{fd}"))
            .and_then(|mut file| file.write_all(b"READY=1\n"))
            .map_err(|error| Failure::usage(format!("--ready-fd {fd}: {error}")))?;
    }
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET") {
        let path = path.to_string_lossy();
        let address = match path.strip_prefix('@') {
            Some(name) => UnixAddr::from_abstract_name(name),
            None => UnixAddr::from_pathname(&*path),
        };
        let sent = address.and_then(|to| UnixDatagram::unbound()?.send_to_addr(b"READY=1", &to));
        if let Err(error) = sent {
            tracing::warn!("the service manager could not be told of readiness: {error}");
        }
    }
    Ok(())
}
