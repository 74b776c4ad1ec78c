//! Figures for a monitoring system: `GET /metrics` in the text format of Prometheus, version 0.0.4.
//!
//! A figure of a node bears the label `node`, one of a worker `worker`, and all begin with `causeway_`; those of the
//! process have the names that every Prometheus client gives them.
//!
//! One thread answers one request after the other. Bounds: a request head of 8 KiB, five seconds for each.

mod process;
mod text;

use crate::merge;
use crate::worker::Handle;
use causeway_node::Metrics;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What a worker and its nodes count; of a group, all its workers.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The workers' names and their own figures.
    pub workers: Vec<(String, Metrics)>,
    /// The nodes' names and theirs.
    pub nodes: Vec<(String, Metrics)>,
}

/// The longest request head.
const LONGEST: usize = 8 * 1024;
/// How long a client may take in all, and a worker to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers as long as it lives.
#[derive(Debug)]
pub struct Server {
    local: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Listens on `local` and answers for these workers, on a thread of its own.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub fn start(local: SocketAddr, workers: Vec<Handle>) -> io::Result<Self> {
        let listener = TcpListener::bind(local)?;
        let local = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::Builder::new().name("metrics".into()).spawn(move || serve(&listener, &workers, &stopped))?;
        Ok(Self { local, stop })
    }

    /// Where it listens.
    pub fn local(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes it up to see that; if it cannot be reached, it ends with the process.
        let _ = TcpStream::connect_timeout(&self.local, Duration::from_millis(100));
    }
}

fn serve(listener: &TcpListener, workers: &[Handle], stop: &AtomicBool) {
    loop {
        let accepted = listener.accept();
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match accepted {
            Ok((client, peer)) => {
                if let Err(error) = answer(client, workers) {
                    tracing::debug!(%peer, "metrics: {error}");
                }
            }
            Err(error) => {
                tracing::warn!("metrics: {error}");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn answer(mut client: TcpStream, workers: &[Handle]) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    let (status, body) = match request(&mut client, until)? {
        Request::Metrics { head } => match page(workers) {
            Ok(page) => ("200 OK", if head { String::new() } else { page }),
            Err(why) => ("503 Service Unavailable", format!("{why}\n")),
        },
        Request::Elsewhere => ("404 Not Found", "there is /metrics and nothing else\n".to_owned()),
        Request::Method => ("405 Method Not Allowed", "GET alone\n".to_owned()),
        Request::Nonsense => ("400 Bad Request", "this is no HTTP request\n".to_owned()),
        Request::TooLong => ("431 Request Header Fields Too Large", "too long\n".to_owned()),
    };
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        body.len()
    );
    client.set_write_timeout(Some(left(until)?))?;
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())
}

enum Request {
    Metrics { head: bool },
    Elsewhere,
    Method,
    Nonsense,
    TooLong,
}

/// Reads a request head; a body is not waited for.
fn request(client: &mut TcpStream, until: Instant) -> io::Result<Request> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > LONGEST {
            return Ok(Request::TooLong);
        }
        client.set_read_timeout(Some(left(until)?))?;
        match client.read(&mut part)? {
            0 => return Ok(Request::Nonsense),
            n => head.extend_from_slice(part.get(..n).unwrap_or_default()),
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = std::str::from_utf8(line).unwrap_or_default().split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    Ok(match (method, target, version) {
        (Some(method), Some(target), Some(version))
            if version.starts_with("HTTP/1.") && words.next().is_none() =>
        {
            match (method, target.split('?').next()) {
                (_, path) if path != Some("/metrics") => Request::Elsewhere,
                ("GET", _) => Request::Metrics { head: false },
                ("HEAD", _) => Request::Metrics { head: true },
                _ => Request::Method,
            }
        }
        _ => Request::Nonsense,
    })
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The whole page.
fn page(workers: &[Handle]) -> Result<String, String> {
    let mut page = text::Page::default();
    let ask = |worker: &Handle| worker.metrics(PATIENCE).map_err(|gone| format!("{}: {gone}", worker.name()));
    for figures in merge::collect(workers, ask, merge::add_figures)? {
        for (worker, metrics) in &figures.workers {
            page.add("worker", worker, metrics);
        }
        for (node, metrics) in &figures.nodes {
            page.add("node", node, metrics);
        }
    }
    process::add(&mut page);
    Ok(page.finish())
}
