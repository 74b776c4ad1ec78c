//! `voice phone LISTEN PROXY URI PASSWORD register|direct [CALL SECONDS]`: one phone, in a process of its own. It
//! prints READY, calls or is called, and when it is over (or its standard input ends) what it has sent and heard.

use anyhow::{Context, Result, bail};
use causeway_phone::{Config, Phone, Talk};
use causeway_runtime::{Handle, Setup, Worker};
use causeway_sip::ua::{Config as Account, Event, Password};
use serde_json::json;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(args: &[String]) -> Result<()> {
    let [listen, proxy, uri, password, manner, call @ ..] = args else { bail!("too few arguments") };
    let (listen, proxy) = (listen.parse()?, proxy.parse()?);
    let account = Account::new(uri.clone(), Password::new(password.clone()), listen, proxy);
    let worker = Worker::new("phone").node(Setup::new("phone", Phone::new(Config::new(account))));
    let (handle, _thread) = worker.spawn()?;
    handle.ready(PATIENCE).map_err(anyhow::Error::msg)?;
    if manner == "register" {
        handle.with::<Phone, _>("phone", |phone, ctx, out| phone.register(ctx, out))?;
        wait(&handle, "registration", |event| matches!(event, Event::Registered(_)))?;
    }
    println!("READY");
    let talk = match call {
        [] => {
            std::io::stdin().read_to_end(&mut Vec::new())?;
            talk(&handle)?
        }
        [to, seconds] => {
            let to = to.clone();
            let call = handle.with::<Phone, _>("phone", move |phone, ctx, out| phone.call(ctx, &to, out))?;
            let call = call.context("no free line")?;
            wait(&handle, "answer", |event| matches!(event, Event::Answered { .. }))?;
            thread::sleep(Duration::from_secs(seconds.parse()?));
            let talk = talk(&handle)?;
            handle.with::<Phone, _>("phone", move |phone, ctx, out| phone.hang_up(ctx, call, out))?;
            thread::sleep(Duration::from_millis(500));
            talk
        }
        _ => bail!("too many arguments"),
    };
    println!("{talk}");
    handle.stop();
    Ok(())
}

fn wait(handle: &Handle, what: &str, is: impl Fn(&Event) -> bool) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let events = handle.with::<Phone, _>("phone", |phone, _, _| {
            std::iter::from_fn(|| phone.poll()).collect::<Vec<Event>>()
        })?;
        if events.iter().any(&is) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("no {what} within {} s", PATIENCE.as_secs())
}

/// The call under way or the last one, its times on the clock that all processes share.
fn talk(handle: &Handle) -> Result<serde_json::Value> {
    handle
        .with::<Phone, _>("phone", |phone, ctx, _| {
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            let zero = unix.saturating_sub(u128::from(ctx.now.as_nanos()));
            let at = |time: causeway_node::Time| (zero + u128::from(time.as_nanos())) as u64;
            let talk: &Talk = phone.talks().next().or_else(|| phone.finished().last())?;
            Some(json!({
                "first": talk.first_sequence(),
                "sent": talk.sent_at.iter().map(|time| at(*time)).collect::<Vec<_>>(),
                "heard": talk.heard.iter().map(|(number, time, _)| (*number, at(*time))).collect::<Vec<_>>(),
            }))
        })?
        .context("there was no call")
}
