//! A power cut, made of what the program has asked the kernel to do: strace records every write, sync and send,
//! in order; at a cut, what was not synced is lost, or any part of it is not. A disk that loses more than that
//! breaks its own promise.

use super::storm::{Storm, USERS};
use super::{SERVER, start, subscribers};
use crate::differential::wire::Wire;
use crate::process::{PATIENCE, Process, signal};
use crate::scene::Bench;
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The files whose content counts.
const FILES: [&str; 4] = ["exchange.db", "exchange.db-wal", "exchange.db-log0", "exchange.db-log1"];

/// A file as written, and as the disk is sure to have it.
#[derive(Clone, Default)]
struct Image {
    durable: Vec<u8>,
    /// Since the last sync: where, and what; `None` cuts the file there.
    unsynced: Vec<(usize, Option<Vec<u8>>)>,
}

impl Image {
    fn sync(&mut self) {
        for (at, what) in std::mem::take(&mut self.unsynced) {
            apply(&mut self.durable, at, what.as_deref());
        }
    }

    /// After a power cut: of what was not synced, those writes that `kept` names.
    fn after(&self, mut kept: impl FnMut() -> bool) -> Vec<u8> {
        let mut image = self.durable.clone();
        for (at, what) in self.unsynced.iter().filter(|_| kept()) {
            apply(&mut image, *at, what.as_deref());
        }
        image
    }
}

fn apply(file: &mut Vec<u8>, at: usize, what: Option<&[u8]>) {
    let Some(what) = what else { return file.resize(at, 0) };
    if file.len() < at + what.len() {
        file.resize(at + what.len(), 0);
    }
    file[at..at + what.len()].copy_from_slice(what);
}

/// What the disk and the promises are at one moment.
struct Cut {
    files: Vec<(&'static str, Image)>,
    /// Of each user what may be: strictly the promise for those to whom it is just being sent.
    allowed: Vec<[Option<bool>; 2]>,
}

/// A power cut in the very moment in which promises leave, at many such moments; and the same without syncing.
pub fn power_loss(bench: &Bench<'_>) -> Result<String> {
    let cuts = if bench.thorough { 60 } else { 8 };
    let (wrong, checked) = run(bench, "full", cuts)?;
    ensure!(wrong == 0, "{wrong} of {checked} promises were broken by {cuts} power cuts");
    let (broken, of) = run(bench, "off", cuts)?;
    ensure!(broken > 0, "the control: with --durability off no power cut breaks any of {of} promises");
    Ok(format!(
        "{cuts} power cuts, {checked} promises kept; control: without syncing {broken} of {of} are broken"
    ))
}

/// A program under strace, which passes no signals on and ends with what it traces.
struct Traced(Process);

impl Traced {
    fn end(&mut self) -> Result<()> {
        let children = format!("/proc/{0}/task/{0}/children", self.0.pid());
        for child in fs::read_to_string(&children)?.split_whitespace() {
            signal(child.parse()?, "-KILL");
        }
        self.0.exit(PATIENCE).map(drop)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // It has ended already if all went well.
        let _ = self.end();
    }
}

/// Storms under strace, then cuts the power at some of the sends. How many promises were broken, of how many.
fn run(bench: &Bench<'_>, durability: &str, cuts: usize) -> Result<(usize, usize)> {
    let dir = bench.dir.join(durability);
    let data = dir.join("data");
    subscribers(bench.binary, bench.dir, &data)?;
    let trace = dir.join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-xx", "-s", "1000000", "-e", "signal=none"]);
    strace.args([
        "-e",
        "trace=openat,close,lseek,write,pwrite64,ftruncate,fsync,fdatasync,sendmmsg,sendto,sendmsg",
    ]);
    strace.arg("-o").arg(&trace).arg(bench.binary.path());
    let mut storm = Storm::new(SERVER)?;
    let mut exchange = Traced(start(bench, strace, &data, &["--durability", durability])?);
    // Commits come twenty times a second at most; so many moments at least are wanted.
    storm.rage(Duration::from_millis(1500.max(100 * cuts as u64)))?;
    exchange.end()?;
    drop(storm);
    let text = fs::read_to_string(&trace)?;
    let moments = replay(&text)?;
    ensure!(moments.len() >= cuts, "only {} moments at which promises left", moments.len());
    let (mut wrong, mut checked) = (0, 0);
    for number in 0..cuts {
        let cut = &moments[number * moments.len() / cuts];
        let place = restore(&dir, &data, cut, number)?;
        let mut storm = Storm::new(SERVER)?;
        let _exchange = start(bench, Command::new(bench.binary.path()), &place, &[])?;
        wrong += storm.check(&cut.allowed)?;
        checked += cut.allowed.iter().filter(|allowed| allowed[1].is_none()).count();
    }
    Ok((wrong, checked))
}

/// A folder as it is found after the cut. The first third of all cuts loses everything unsynced, the others keep
/// some of it.
fn restore(dir: &Path, data: &Path, cut: &Cut, number: usize) -> Result<PathBuf> {
    let place = dir.join(format!("cut{number}"));
    fs::create_dir_all(&place)?;
    for entry in fs::read_dir(data)? {
        let from = entry?.path();
        let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if from.is_file() && name.starts_with("subscribers") {
            fs::copy(&from, place.join(name))?;
        }
    }
    let mut state = number as u32;
    for (name, image) in &cut.files {
        let kept = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            !number.is_multiple_of(3) && state >> 31 == 1
        };
        let bytes = image.after(kept);
        if !bytes.is_empty() {
            fs::write(place.join(name), bytes)?;
        }
    }
    Ok(place)
}

/// Goes through the trace; a cut at every send of a 200 to REGISTER that carries or ends a binding.
fn replay(text: &str) -> Result<Vec<Cut>> {
    let mut files: HashMap<&'static str, Image> =
        FILES.iter().map(|name| (*name, Image::default())).collect();
    let mut open: HashMap<i64, (&'static str, usize)> = HashMap::new();
    let mut begun: HashMap<&str, String> = HashMap::new();
    let mut promised: Vec<Option<bool>> = vec![Some(false); USERS];
    let mut cuts = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let sends = rest.starts_with("send");
        if sends {
            let just = promises(rest);
            for (user, bound) in &just {
                promised[*user] = Some(*bound);
            }
            if !just.is_empty() {
                let is_just = |user: usize| just.iter().any(|(its, _)| *its == user);
                let allowed = (0..USERS).map(|user| {
                    [promised[user], promised[user].filter(|_| !is_just(user)).map(|bound| !bound)]
                });
                let images = FILES.iter().map(|name| (*name, files.get(name).cloned().unwrap_or_default()));
                cuts.push(Cut { files: images.collect(), allowed: allowed.collect() });
            }
            continue;
        }
        // A call that another thread has interrupted counts when it returns.
        let whole = match rest.split_once(" <unfinished ...>") {
            Some((start, _)) => {
                begun.insert(thread, start.to_owned());
                continue;
            }
            None if rest.starts_with("<... ") => {
                let end = rest.split_once(" resumed>").map_or("", |(_, end)| end);
                begun.remove(thread).unwrap_or_default() + end
            }
            None => rest.to_owned(),
        };
        call(&whole, &mut files, &mut open).with_context(|| whole.chars().take(200).collect::<String>())?;
    }
    Ok(cuts)
}

/// Carries out one call on the images.
fn call(
    whole: &str,
    files: &mut HashMap<&'static str, Image>,
    open: &mut HashMap<i64, (&'static str, usize)>,
) -> Result<()> {
    let Some((name, rest)) = whole.split_once('(') else { return Ok(()) };
    let Some((args, result)) = rest.rsplit_once(" = ") else { return Ok(()) };
    let result: i64 = result.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(-1);
    if result < 0 {
        return Ok(());
    }
    let fd: i64 = args.split([',', ')']).next().and_then(|word| word.trim().parse().ok()).unwrap_or(-1);
    if name == "openat" {
        let path = String::from_utf8_lossy(&strings(args).concat()).into_owned();
        let found = FILES.iter().find(|file| path.rsplit('/').next() == Some(**file));
        match found {
            Some(file) => open.insert(result, (file, 0)),
            None => open.remove(&result),
        };
        return Ok(());
    }
    let Some((file, offset)) = open.get_mut(&fd) else { return Ok(()) };
    let image = files.entry(file).or_default();
    let last = || {
        args.trim_end()
            .trim_end_matches(')')
            .trim_end()
            .rsplit(", ")
            .next()
            .and_then(|word| word.parse::<usize>().ok())
    };
    match name {
        "close" => {
            open.remove(&fd);
        }
        "lseek" => *offset = usize::try_from(result)?,
        "write" | "pwrite64" => {
            let bytes = strings(args).concat();
            ensure!(
                bytes.len() == usize::try_from(result)?,
                "a write of {result} bytes shows {}",
                bytes.len()
            );
            let at = if name == "write" { *offset } else { last().context("no offset")? };
            if name == "write" {
                *offset += bytes.len();
            }
            image.unsynced.push((at, Some(bytes)));
        }
        "ftruncate" => image.unsynced.push((last().context("no length")?, None)),
        "fsync" | "fdatasync" => image.sync(),
        _ => {}
    }
    Ok(())
}

/// All strings of a call, from their hexadecimal form.
fn strings(args: &str) -> Vec<Vec<u8>> {
    let byte = |pair: &str| pair.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    args.split('"')
        .skip(1)
        .step_by(2)
        .map(|text| text.split("\\x").skip(1).filter_map(byte).collect())
        .collect()
}

/// What the messages of a send promise: user, and whether he has a binding now.
fn promises(send: &str) -> Vec<(usize, bool)> {
    strings(send)
        .iter()
        .map(|bytes| Wire::read(bytes))
        .filter(|wire| wire.status() == Some(200) && wire.cseq().1 == "REGISTER")
        .filter_map(|wire| {
            let user = wire.first("to").split_once("sip:s")?.1.split('@').next()?.parse().ok()?;
            Some((user, !wire.first("contact").is_empty()))
        })
        .collect()
}
