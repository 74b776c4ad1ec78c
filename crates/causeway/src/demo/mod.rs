//! `causeway demo`: the main job on loopback, with the code that `up`, `agent` and an application run.
//!
//! ```text
//!  phone ─ agent ══╗                              ╔══ agent ─ phone
//!  (one process)   ╚═► contact point ─ exchange ◄═╝   (embedded as a library)
//! ```

mod report;
mod speech;
mod stage;
mod table;

use crate::cli::Demo;
use crate::exit::{Failure, Kind, Outcome};
use causeway_sip::ua::{CallId, End, Event};
use report::Report;
use stage::{Customer, Stage};
use std::thread;
use std::time::{Duration, Instant};
use table::Table;

/// How long a phone may take to register, and a call to be answered.
const PATIENCE: Duration = Duration::from_secs(15);
/// What the demo looks at while it waits.
const GLANCE: Duration = Duration::from_millis(5);

/// Runs the demo: stage, call, report.
pub fn run(options: &Demo) -> Outcome {
    let [alice_says, bob_says] = speech::both().map_err(Failure::unreachable)?;
    let table = Table::new(options.json);
    table.step("starting an operator: exchange, subscribers, contact point");
    let stage = Stage::set(&alice_says, &bob_says, options.corrupt)?;
    table.step("starting two customers, each a phone with an agent inside it");
    for customer in stage.customers() {
        customer.register()?;
    }
    stage.customers().iter().try_for_each(registered)?;
    table.step("both phones are registered through their tunnels; alice calls bob");
    let (call, setup) = call(stage.alice())?;
    talk(&stage, &table, Duration::from_secs(options.seconds));
    let tcp_connections = stage.count_tunnels()?;
    stage.alice().hang_up(call)?;
    ended(stage.alice())?;
    ended(stage.bob())?;
    let report = Report::new(&stage, setup, tcp_connections, [&alice_says, &bob_says])?;
    table.finish();
    if options.json {
        println!("{}", report.json());
    } else {
        println!("{report}");
    }
    if options.hold {
        let (_agent, text) = stage.invite()?;
        table.say(&text);
        loop {
            thread::park();
        }
    }
    match report.faults() {
        faults if faults.is_empty() => Ok(()),
        faults => Err(Failure::new(
            Kind::Negative,
            format!("the demo is not as it should be: {}", faults.join("; ")),
        )),
    }
}

/// Waits for an event that `wanted` recognises.
fn wait<T>(
    customer: &Customer,
    what: &str,
    mut wanted: impl FnMut(Event) -> Option<T>,
) -> Result<T, Failure> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(found) = customer.events()?.into_iter().find_map(&mut wanted) {
            return Ok(found);
        }
        thread::sleep(GLANCE);
    }
    Err(Failure::unreachable(format!("{} waited {PATIENCE:?} in vain for {what}", customer.name)))
}

fn registered(customer: &Customer) -> Outcome {
    wait(customer, "its registration", |event| match event {
        Event::Registered(_) => Some(()),
        _ => None,
    })
}

/// Places the call; returns it with the time until it was answered.
fn call(alice: &Customer) -> Result<(CallId, Duration), Failure> {
    let start = Instant::now();
    let call = alice.call("sip:bob@example.com")?;
    let answer = wait(alice, "an answer to its call", |event| match event {
        Event::Answered { .. } => Some(Ok(start.elapsed())),
        Event::Ended { why, .. } => {
            Some(Err(Failure::new(Kind::Refused, format!("the call failed: {why:?}"))))
        }
        _ => None,
    })?;
    Ok((call, answer?))
}

fn talk(stage: &Stage, table: &Table, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        thread::sleep(Duration::from_millis(250).min(time.saturating_sub(start.elapsed())));
        table.show(stage, start.elapsed(), time);
    }
}

fn ended(customer: &Customer) -> Outcome {
    let why = wait(customer, "the end of the call", |event| match event {
        Event::Ended { why, .. } => Some(why),
        _ => None,
    })?;
    match why {
        End::ByUs | End::ByThem => Ok(()),
        other => {
            Err(Failure::new(Kind::Negative, format!("{}'s call ended badly: {other:?}", customer.name)))
        }
    }
}
