//! What one stateless hop of an 860-byte INVITE costs: `cargo bench -p causeway-sip --bench hop`.
//!
//! A hop is: index the datagram; read the branch, both tags, CSeq and Call-ID; push a Via; decrement
//! Max-Forwards; write the result into a reused buffer. The figure is the best of many batches, so that what
//! else the machine does is left out. Allocations are counted over all of them.
//!
//! `hop -- --callgrind N [--validate]` does N hops and nothing else, for
//! `valgrind --tool=callgrind`: the difference of two runs gives the instructions per hop.
//! `hop -- --json` prints the figures as JSON.

// Counting allocations needs a global allocator, which cannot be written without `unsafe`.
#![allow(unsafe_code, clippy::print_stdout)]

use causeway_sip::{Edit, Index, Msg, validate};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const INVITE: &[u8] = b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP client.atlanta.example.com:5060;branch=z9hG4bK74bf9;rport\r\n\
    Max-Forwards: 70\r\n\
    From: \"Alice Liddell\" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n\
    To: \"Bob\" <sip:bob@biloxi.example.com>\r\n\
    Call-ID: 3848276298220188511@client.atlanta.example.com\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:alice@client.atlanta.example.com:5060;transport=udp>\r\n\
    Route: <sip:ss1.atlanta.example.com;lr>\r\n\
    Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY\r\n\
    Supported: replaces, timer, path, outbound\r\n\
    User-Agent: Example Phone 4.2.1-2\r\n\
    Session-Expires: 1800;refresher=uac\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 204\r\n\
    \r\n\
    v=0\r\n\
    o=alice 2890844526 2890844526 IN IP4 client.atlanta.example.com\r\n\
    s=-\r\n\
    c=IN IP4 192.0.2.101\r\n\
    t=0 0\r\n\
    m=audio 49172 RTP/AVP 0 8 101\r\n\
    a=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\n\
    a=ptime:20\r\n";

/// What is kept from one hop to the next.
struct Hop {
    index: Index,
    edit: Edit,
    out: Vec<u8>,
    validate: bool,
}

impl Hop {
    fn new(validate: bool) -> Hop {
        Hop { index: Index::new(), edit: Edit::new(), out: Vec::with_capacity(2048), validate }
    }

    fn run(&mut self, bytes: &[u8]) -> usize {
        self.index.parse(bytes).expect("the message is sound");
        let msg = Msg::new(bytes, &self.index);
        if self.validate {
            validate::verdict_as(msg, validate::Role::Proxy).expect("the message is sound");
        }
        black_box(msg.top_via().and_then(|via| via.branch()));
        black_box((msg.from_tag(), msg.to_tag()));
        black_box((msg.cseq(), msg.call_id()));
        let hops = msg.max_forwards().unwrap_or(70);
        self.edit.clear();
        self.edit.push_via(msg, &[b"SIP/2.0/UDP proxy.example.com:5060;branch=", b"z9hG4bK8e1f7c22aa01"]);
        self.edit.set_max_forwards(msg, hops - 1);
        self.out.clear();
        self.edit.apply(msg, &mut self.out);
        self.out.len()
    }
}

/// Nanoseconds per call, the best batch of those that fit into two seconds.
fn best(mut work: impl FnMut()) -> f64 {
    const BATCH: u32 = 200;
    let begin = Instant::now();
    let mut best = Duration::MAX;
    while begin.elapsed() < Duration::from_secs(2) {
        let start = Instant::now();
        (0..BATCH).for_each(|_| work());
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e9 / f64::from(BATCH)
}

fn measure(validate: bool) -> (f64, u64) {
    let mut hop = Hop::new(validate);
    hop.run(INVITE);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let nanos = best(|| {
        black_box(hop.run(black_box(INVITE)));
    });
    (nanos, ALLOCATIONS.load(Ordering::Relaxed) - before)
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let has = |name: &str| args.iter().any(|arg| arg == name);
    if let Some(at) = args.iter().position(|arg| arg == "--callgrind") {
        let count = args.get(at + 1).and_then(|count| count.parse().ok()).unwrap_or(1000);
        let mut hop = Hop::new(has("--validate"));
        (0..count).for_each(|_| {
            black_box(hop.run(black_box(INVITE)));
        });
        return;
    }
    let mut index = Index::new();
    let parse = best(|| {
        index.parse(black_box(INVITE)).expect("the message is sound");
        black_box(&index);
    });
    let (plain, plain_allocations) = measure(false);
    let (validated, validated_allocations) = measure(true);
    let allocations = plain_allocations + validated_allocations;
    if has("--json") {
        println!(
            "{{\"bytes\":{},\"index_ns\":{parse:.0},\"hop_ns\":{plain:.0},\"hop_validated_ns\":{validated:.0},\
             \"allocations\":{allocations}}}",
            INVITE.len()
        );
    } else {
        println!("INVITE of {} bytes, best of batches, one thread", INVITE.len());
        println!("index             {parse:7.0} ns");
        println!("hop               {plain:7.0} ns   (bar: 600)");
        println!("hop + validation  {validated:7.0} ns   (bar: 1000)");
        println!("allocations       {allocations:7}      (bar: 0)");
    }
    assert_eq!(allocations, 0, "a hop must not allocate");
}
