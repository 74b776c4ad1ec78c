//! The media tick: fewer wake-ups, a bounded delay, signalling untouched. Alone in its process.

mod common;

use causeway_node::{Class, Ctx, Flow, Input, Node, Outbox, Time};
use causeway_runtime::{Handle, Options, Setup, Worker};
use common::{LONG, counter, end};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(5);

/// Echoes on a signalling and on a media port.
struct Echo {
    active: bool,
}

impl Node for Echo {
    fn handle(&mut self, _: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Start => {
                out.bind(Flow(0), "127.0.0.1:0".parse().unwrap(), Class::Signalling);
                out.bind(Flow(1), "127.0.0.1:0".parse().unwrap(), Class::Media);
            }
            Input::Datagram { flow, from, bytes } => out.datagram(flow, from, bytes),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn media_active(&self) -> bool {
        self.active
    }
}

fn ping(client: &UdpSocket, to: SocketAddr) -> Duration {
    let start = Instant::now();
    client.send_to(&[0; 172], to).unwrap();
    client.recv(&mut [0; 200]).unwrap();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn set_active(handle: &Handle, active: bool) {
    handle.with::<Echo, _>("echo", move |echo, _, _| echo.active = active).unwrap();
}

#[test]
fn while_media_flows_it_is_collected_by_the_tick() {
    let options = Options { media_tick: TICK, ..Options::default() };
    let setup = Setup::new("echo", Echo { active: false });
    let (handle, thread) = Worker::new("test").options(options).node(setup).spawn().unwrap();
    let bound = handle.ready(LONG).unwrap();
    let (signalling, media) = (bound[0].local, bound[1].local);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();

    // Idle: each packet wakes the loop, at once, and no tick runs.
    let before = counter(&handle, "wakes");
    for _ in 0..100 {
        ping(&client, media);
    }
    assert!(counter(&handle, "wakes") - before >= 100);
    let quick = median((0..21).map(|_| ping(&client, media)).collect());
    assert!(quick < TICK / 2, "{quick:?}");
    assert_eq!(counter(&handle, "ticks"), 0);

    // Active: two hundred packets wake it once per tick.
    set_active(&handle, true);
    let (wakes, ticks, start) = (counter(&handle, "wakes"), counter(&handle, "ticks"), Instant::now());
    for _ in 0..200 {
        client.send_to(&[0; 172], media).unwrap();
        std::thread::sleep(Duration::from_micros(500));
    }
    for _ in 0..200 {
        client.recv(&mut [0; 200]).unwrap();
    }
    let (wakes, ticks) = (counter(&handle, "wakes") - wakes, counter(&handle, "ticks") - ticks);
    let periods = start.elapsed().as_nanos() as u64 / TICK.as_nanos() as u64;
    assert!(ticks <= periods + 1, "{ticks} ticks in {periods} periods");
    assert!(wakes <= ticks + 6, "{wakes} wakes, {ticks} ticks: only the tick and the questions of this test");

    // Each is back within two ticks; signalling does not wait at all.
    let slow = median((0..21).map(|_| ping(&client, media)).collect());
    assert!(slow > quick && slow < 2 * TICK, "{slow:?}");
    let at_once = median((0..21).map(|_| ping(&client, signalling)).collect());
    assert!(at_once < TICK / 2, "{at_once:?}");

    // Idle again: the tick is over.
    set_active(&handle, false);
    let ticks = counter(&handle, "ticks");
    std::thread::sleep(4 * TICK);
    assert!(counter(&handle, "ticks") <= ticks + 1);
    let quick = median((0..21).map(|_| ping(&client, media)).collect());
    assert!(quick < TICK / 2, "{quick:?}");
    end(&handle, thread);
}
