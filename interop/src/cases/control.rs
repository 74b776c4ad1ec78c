//! Controls: what the lab shows without Causeway.

use crate::baresip::{Account, Baresip};
use crate::kamailio::{Kamailio, PathSupport};
use crate::lab::{self, CORE, Firewall, Host};
use crate::process::Mark;
use crate::scene::{Bench, Side, hang_up, talk};
use anyhow::{Result, ensure};

/// Two phones beside the server: what the comparison of audio says when nothing is in between.
pub fn direct_inside(bench: &Bench<'_>) -> Result<String> {
    let _kamailio = Kamailio::start(bench.lab, bench.dir, Host::Core, CORE, PathSupport::Off)?;
    let proxy = format!("{CORE}:5060");
    let phone = |side: Side, host| {
        let says = bench.voice(side)?;
        Baresip::registered(bench.lab, bench.dir, host, &Account::new(side.user(), &proxy, &says))
    };
    let (mut alice, mut bob) = (phone(Side::A, Host::InsideA)?, phone(Side::B, Host::InsideB)?);
    talk(&mut alice, &mut bob, 4)?;
    hang_up(&mut alice, &bob)?;
    bench.both_understood(&alice, &bob)
}

/// The same phones at the customers', with the server on a public address.
pub fn direct_outside(bench: &Bench<'_>) -> Result<String> {
    let public = "203.0.113.10";
    let _kamailio = Kamailio::start(bench.lab, bench.dir, Host::Edge, public, PathSupport::Off)?;
    let proxy = format!("{public}:5060");
    for (side, nat) in [(Side::A, Host::NatA), (Side::B, Host::NatB)] {
        for transport in ["udp", "tcp"] {
            let says = bench.voice(side)?;
            let account = Account { transport, ..Account::new(side.user(), &proxy, &says) };
            let before = lab::refused_packets(bench.lab, nat)?;
            let phone = Baresip::start(bench.lab, bench.dir, side.phone(), &account)?;
            crate::process::until(crate::process::PATIENCE, || {
                let refused = lab::refused_packets(bench.lab, nat)? - before;
                ensure!(refused >= 3, "{refused} packets of a {transport} registration were refused");
                Ok(())
            })?;
            ensure!(
                !phone.has("registered successfully", Mark::default()),
                "{} has registered over {transport} in spite of the firewall",
                side.user()
            );
        }
        bench.lab.firewall(nat, Firewall::Open)?;
        let registered = open_registration(bench, side, &proxy);
        bench.lab.firewall(nat, Firewall::OnlyHttps)?;
        registered?;
    }
    Ok("refused over UDP and TCP; registered once the firewall was open".to_owned())
}

fn open_registration(bench: &Bench<'_>, side: Side, proxy: &str) -> Result<()> {
    let says = bench.voice(side)?;
    Baresip::registered(bench.lab, bench.dir, side.phone(), &Account::new(side.user(), proxy, &says))
        .map(drop)
}
