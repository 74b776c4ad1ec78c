//! Calls beside a flood of what is no SIP, on loopback: the same machine, no namespace.

use super::forking::{ANSWERED, PICK_UP, REGISTER};
use crate::kamailio::DOMAIN;
use crate::process::{Mark, PATIENCE, Process};
use crate::scene::Bench;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SERVER: &str = "127.0.8.1:5060";
/// Datagrams per second.
const FLOOD: u64 = 100_000;
/// Calls begun per second.
const RATE: u64 = 200;

/// 100,000 datagrams of garbage a second, 200 calls a second: what becomes of the calls.
pub fn flood(bench: &Bench<'_>) -> Result<String> {
    let seconds = if bench.thorough { 60 } else { 10 };
    let _exchange = exchange(bench)?;
    play(bench, REGISTER, "register", ("127.0.8.4", "callee"), 1, 1)?.exit(PATIENCE)?;
    let _callee = play(bench, PICK_UP, "callee", ("127.0.8.3", "callee"), 0, RATE)?;
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let flooding = {
        let (stop, sent) = (stop.clone(), sent.clone());
        thread::spawn(move || pour(&stop, &sent))
    };
    let begun = Instant::now();
    let calls = RATE * seconds;
    let mut caller = play(bench, ANSWERED, "caller", ("127.0.8.2", "caller"), calls, RATE)?;
    let ended = caller.exit(Duration::from_secs(seconds + 60));
    let poured = sent.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    flooding.join().ok().context("the flood has panicked")??;
    ended?;
    let complete = count(&caller, "Successful call")?;
    let share = complete as f64 / calls as f64;
    ensure!(poured >= 0.8 * FLOOD as f64, "the flood was only {poured:.0} datagrams a second");
    ensure!(
        share >= 0.999,
        "{complete} of {calls} calls are complete, beside {poured:.0} datagrams a second"
    );
    Ok(format!("{complete} of {calls} calls complete, beside {poured:.0} datagrams of garbage a second"))
}

fn exchange(bench: &Bench<'_>) -> Result<Process> {
    let data = bench.dir.join("exchange");
    fs::create_dir_all(&data)?;
    for user in ["caller", "callee"] {
        bench.binary.subscriber(&data, user, "secret")?;
    }
    let mut command = bench.binary.command();
    command.args(["--log", "warn", "exchange", "--domain", DOMAIN, "--sip", SERVER, "--ready-fd", "1"]);
    command.arg("--data").arg(data);
    let process = Process::spawn(command, bench.dir, "exchange")?;
    process.wait("READY=1", Mark::default(), PATIENCE)?;
    Ok(process)
}

/// SIPp in a role; 0 calls: until it is ended.
fn play(
    bench: &Bench<'_>,
    scenario: &str,
    name: &str,
    (address, user): (&str, &str),
    calls: u64,
    rate: u64,
) -> Result<Process> {
    let (file, table) = (bench.dir.join(format!("{name}.xml")), bench.dir.join(format!("{name}.csv")));
    fs::write(&file, scenario)?;
    fs::write(
        &table,
        format!("SEQUENTIAL\n{user};[authentication username={user} password=secret];callee\n"),
    )?;
    let mut command = Command::new("sipp");
    command.arg(SERVER).arg("-sf").arg(file).arg("-inf").arg(table).current_dir(bench.dir);
    command.args(["-i", address, "-p", "5060", "-nostdin", "-l", "10000", "-r", &rate.to_string()]);
    command.args(["-key", "contacts", "<sip:callee@127.0.8.3:5060>"]);
    if calls > 0 {
        command.args(["-m", &calls.to_string()]);
    }
    Process::spawn(command, bench.dir, name)
}

/// A number from SIPp's last screen.
fn count(sipp: &Process, name: &str) -> Result<u64> {
    let printed = sipp.printed();
    let line = printed.iter().rev().find(|line| line.contains(name)).context("SIPp counts nothing")?;
    line.rsplit('|').next().and_then(|word| word.trim().parse().ok()).context("SIPp counts nothing")
}

/// Noise, text that looks like SIP at first, and messages that are cut off.
fn pour(stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let socket = UdpSocket::bind("127.0.8.6:0")?;
    socket.connect(SERVER)?;
    let noise: Vec<u8> = (0..600u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let begun_well =
        b"INVITE sip:callee@op.example SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.8.6;branch=z9hG4bK".to_vec();
    let odd =
        b"OPTIONS sip:x SIP/2.0\r\nVia: nonsense\r\nTo: \"\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
    let kinds = [noise, begun_well, odd, vec![0; 40]];
    let start = Instant::now();
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let due = start.elapsed().as_micros() as u64 * FLOOD / 1_000_000;
        while number < due {
            // A full queue is what a flood makes.
            let _ = socket.send(&kinds[number as usize % kinds.len()]);
            number += 1;
            sent.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}
