//! What an operator has: figures, tables, journals, reloading.

use causeway_node::{Ctx, Input, Metrics, Node, Outbox, Status, Time};
use causeway_runtime::control::{self, Command, Error};
use causeway_runtime::{LineLog, Setup, Worker, metrics};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// A node with something to show.
#[derive(Default)]
struct Shop {
    settings: Status,
}

impl Node for Shop {
    fn handle(&mut self, _: &mut Ctx<'_>, _: Input<'_>, _: &mut Outbox) {}

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn status(&self, _: Time) -> Status {
        self.settings.clone()
    }

    fn table(&self, _: Time, table: &str, filter: &str) -> Status {
        if table == "goods" { json!([{ "name": format!("{filter}!") }]) } else { Status::Null }
    }

    fn metrics(&self, _: Time, metrics: &mut Metrics) {
        metrics.counter("sold_total", "Goods sold", &[("kind", "tea \"green\"")], 7);
        metrics.gauge("open", "Whether it is open", &[], 1.0);
    }

    fn reload(&mut self, settings: &Status) -> Result<(), String> {
        if settings["bad"] == true {
            return Err("bad is not good".to_owned());
        }
        self.settings = settings.clone();
        Ok(())
    }
}

fn get(to: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn figures_are_served_as_prometheus_reads_them() {
    let worker =
        Worker::new("w").node(Setup::new("one", Shop::default())).node(Setup::new("two", Shop::default()));
    let (handle, thread) = worker.spawn().unwrap();
    let (other, other_thread) = Worker::new("v").node(Setup::new("three", Shop::default())).spawn().unwrap();
    let server = metrics::Server::start("127.0.0.1:0".parse().unwrap(), vec![handle.clone(), other.clone()]);
    let server = server.unwrap();
    let answer = get(server.local(), b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
    for node in ["one", "two", "three"] {
        let line = format!("causeway_sold_total{{node=\"{node}\",kind=\"tea \\\"green\\\"\"}} 7\n");
        assert!(body.contains(&line), "{body}");
    }
    assert_eq!(body.matches("# TYPE causeway_sold_total counter\n").count(), 1);
    assert!(body.contains("causeway_worker_wakes_total{worker=\"v\"} "));
    let value = |name: &str| {
        let line =
            body.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {body}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(value("process_resident_memory_bytes ") > 1e6);
    assert!(value("process_open_fds ") > 3.0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - value("process_start_time_seconds ")).abs() < 3600.0, "this process is young");
    promtool(body);

    let status = |request: &[u8]| get(server.local(), request).lines().next().unwrap_or_default().to_owned();
    assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
    assert_eq!(status(b"POST /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(status(b"nonsense\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    assert_eq!(status(&[b'x'; 9 * 1024]), "HTTP/1.1 431 Request Header Fields Too Large");
    assert!(get(server.local(), b"HEAD /metrics HTTP/1.0\r\n\r\n").ends_with("\r\n\r\n"));
    handle.stop();
    thread.join().unwrap().unwrap();
    assert_eq!(status(b"GET /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 503 Service Unavailable");
    let local = server.local();
    drop(server);
    let refused = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        TcpStream::connect(local).is_err()
    });
    assert!(refused, "it still listens");
    other.stop();
    other_thread.join().unwrap().unwrap();
}

/// What Prometheus' own checker says of a page, if it is installed.
fn promtool(page: &str) {
    let started = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        eprintln!("skipped: promtool (package prometheus) is not installed");
        return;
    };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}\n{page}", String::from_utf8_lossy(&text));
}

#[test]
fn tables_and_reloading_over_the_control_socket() {
    let dir = tempfile::tempdir().unwrap();
    let worker =
        Worker::new("w").node(Setup::new("one", Shop::default())).node(Setup::new("two", Shop::default()));
    let (handle, thread) = worker.spawn().unwrap();
    let reloading = handle.clone();
    let settings = std::sync::Arc::new(std::sync::Mutex::new(json!({ "tea": 1 })));
    let now = std::sync::Arc::clone(&settings);
    let reload = move || reloading.reload(now.lock().unwrap().clone(), LONG);
    let server = control::Server::start_with(dir.path(), vec![handle.clone()], reload).unwrap();
    let ask = |command| control::request(dir.path(), command);
    let table =
        |table: &str, filter: &str| ask(Command::Table { table: table.into(), filter: filter.into() });
    let rows = json!([{ "name": "tea!" }]);
    assert_eq!(table("goods", "tea").unwrap(), json!({ "one": rows, "two": rows }));
    assert!(matches!(table("bads", ""), Err(Error::Refused(why)) if why.contains("bads")));

    assert_eq!(ask(Command::Reload).unwrap(), Status::Null);
    assert_eq!(ask(Command::Status).unwrap()[0]["nodes"]["two"], json!({ "tea": 1 }));
    *settings.lock().unwrap() = json!({ "bad": true });
    assert!(matches!(ask(Command::Reload), Err(Error::Refused(why)) if why.contains("two: bad is not good")));
    assert_eq!(ask(Command::Status).unwrap()[0]["nodes"]["one"], json!({ "tea": 1 }), "the old ones stay");
    drop(server);
    handle.stop();
    thread.join().unwrap().unwrap();
}

/// Writes a line at its start, into a journal that it has and one that it has not.
struct Scribe;

impl Node for Scribe {
    fn handle(&mut self, _: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        if matches!(input, Input::Start) {
            assert!(out.keeps("cdr") && !out.keeps("other"));
            out.line("cdr", "first".into());
            out.line("other", "nowhere".into());
            out.line("cdr", "second\nline".into());
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

#[test]
fn lines_of_a_node_are_in_its_journal() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("cdr.jsonl"), dir.path().join("cdr.1"));
    let log = LineLog::open(&path).unwrap();
    let setup = Setup::new("scribe", Scribe).journal("cdr", log.clone());
    let (handle, thread) = Worker::new("w").node(setup).spawn().unwrap();
    handle.ready(LONG).unwrap();
    log.flush(LONG);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\nsecond line\n");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let status = handle.status(LONG).unwrap();
    assert_eq!(status["journals"][0]["written"], 2, "{status}");

    std::fs::rename(&path, &moved).unwrap();
    log.append("into the old one");
    log.reopen().unwrap();
    log.append("into the new one");
    log.flush(LONG);
    assert!(std::fs::read_to_string(&moved).unwrap().ends_with("into the old one\n"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "into the new one\n");
    drop(LineLog::open(&path).unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "into the new one\n", "nothing is cut off");
    assert!(LineLog::open(dir.path()).is_err());
    handle.stop();
    thread.join().unwrap().unwrap();
}

#[test]
fn lines_that_cannot_be_written_are_counted_and_the_reason_is_shown() {
    let log = LineLog::open("/dev/full".as_ref()).unwrap();
    for _ in 0..3 {
        log.append("lost");
    }
    log.flush(LONG);
    assert_eq!((log.written(), log.lost()), (0, 3));
    let status = log.status();
    assert!(status["fault"].as_str().unwrap().contains("No space left"), "{status}");
    assert_eq!(status["failed"], 3);
}

#[test]
fn lines_beyond_the_bound_are_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let there = path.clone();
    // A reader that opens the pipe and takes nothing until it is told.
    let (go, told) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let mut pipe = std::fs::File::open(there).unwrap();
        told.recv().unwrap();
        let mut all = String::new();
        pipe.read_to_string(&mut all).unwrap();
        all.lines().count() as u64
    });
    let log = LineLog::open(&path).unwrap();
    let line = "x".repeat(1024 * 1024);
    for _ in 0..40 {
        log.append(&line);
    }
    let dropped = log.lost();
    // 16 MiB wait; one line or two are in the writer's hands.
    assert!((22..=25).contains(&dropped), "{dropped}");
    go.send(()).unwrap();
    log.flush(LONG);
    assert_eq!(log.written() + dropped, 40);
    drop(log);
    assert_eq!(reader.join().unwrap(), 40 - dropped);
}
