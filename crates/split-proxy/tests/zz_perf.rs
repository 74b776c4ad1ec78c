mod common;
use causeway_node::*;
use causeway_split_proxy::ContactPoint;
use common::*;
use std::time::{Duration, Instant};
#[test]
fn perf() {
    let mut lab = Lab::new(1, 2, |c| { c.media.high = 29_999; });
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    for n in 0..50 { lab.call(0, "alice", 1, "bob", &format!("c{n}")); }
    let status = lab.status(lab.contact);
    let calls = status["calls"].as_array().unwrap();
    let mut flows = vec![];
    for call in calls { let m=&call["media"][0]; flows.push((m["port"].as_u64().unwrap(), m["peer"].as_str().unwrap().to_owned())); }
    println!("{} legs", flows.len());
    let contact = lab.contact;
    lab.world.with::<ContactPoint, _>(contact, |cp, ctx, _| {
        let mut out = Outbox::default();
        let packet = rtp(1, &[0u8; 160]);
        let mut seq = 0u16;
        // find flow ids by trying
        let ids: Vec<(Flow, std::net::SocketAddr)> = (0..400u32).map(|i| (Flow((1<<24)+i))).flat_map(|f| flows.iter().map(move |(p, peer)| (f, *p, peer.clone()))).filter(|(f,p,_)| 20_000 + u64::from(f.0 - (1<<24)) == *p).map(|(f,_,peer)| (f, peer.parse().unwrap())).collect();
        println!("{} flows", ids.len());
        let mut buf = Vec::new();
        let mut wire = Vec::new();
        let mut woken = vec![];
        let t = Instant::now();
        let mut n = 0u64;
        for _ in 0..5000 {
            seq = seq.wrapping_add(1);
            let mut p = packet.clone(); p[2..4].copy_from_slice(&seq.to_be_bytes());
            for (flow, from) in &ids {
                cp.handle(ctx, Input::Datagram { flow: *flow, from: *from, bytes: &p }, &mut out);
                n += 1;
            }
            woken.clear();
            out.drain(|_, o| if let Output::Wake { flow } = o { if !woken.contains(&flow) { woken.push(flow) } });
            for f in &woken { buf.clear(); cp.fill(ctx, *f, 1<<20, &mut buf); if wire.is_empty() { wire = buf.clone(); } }
            ctx.now += Duration::from_millis(2);
        }
        println!("net->tunnel {:.1} ns per packet ({n}, {} bytes per fill)", t.elapsed().as_nanos() as f64 / n as f64, buf.len());
        let _ = wire;
    });
}
