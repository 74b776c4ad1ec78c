//! TLS and the tunnel's greeting.

use super::report::{Finding, Report};
use super::way::Way;
use crate::exit::Failure;
use crate::glue::unix_ms;
use causeway_node::Time;
use causeway_runtime::probe::{self, Distrust, NoTls, Secure, Shown};
use causeway_runtime::tls::Trust;
use causeway_split_proxy::ContactAddress;
use causeway_tunnel::{Config, Event, GoodbyeReason, Role, Tunnel, Why};
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

/// Shakes hands and greets; what goes wrong is in the report.
///
/// # Errors
/// If the roots cannot be read.
pub fn greet(way: Way, trust: &Trust, report: &mut Report) -> Result<bool, Failure> {
    let Way { stream, address } = way;
    let shaken = probe::tls(stream, trust, &address.host);
    let shaken = shaken.map_err(|error| Failure::usage(error.to_string()))?;
    let (secure, shown) = match shaken {
        Ok(shaken) => shaken,
        Err(why) => {
            report.add(no_tls(&why));
            return Ok(false);
        }
    };
    let judged = judge(&shown, trust, &address);
    let good = judged.verdict != super::report::Verdict::Bad;
    report.add(judged);
    if !good {
        return Ok(false);
    }
    if !shown.speaks_tunnel {
        report.add(Finding::bad(
            "tunnel",
            "TLS works, but the other end does not name the tunnel's protocol (ALPN causeway/1)",
            "this is another server, or a firewall that takes TLS apart: check host and port",
        ));
        return Ok(false);
    }
    Ok(hello(secure, report))
}

fn no_tls(why: &NoTls) -> Finding {
    match why {
        NoTls::Protocol => Finding::bad(
            "tls",
            "the other end speaks TLS, but not the tunnel's protocol (ALPN causeway/1)",
            "this is another server, a web server for instance: check host and port",
        ),
        NoTls::Version => Finding::bad(
            "tls",
            "the other end does not speak TLS 1.3",
            "this is another server, or a firewall that takes TLS apart with an old version: check host and port",
        ),
        NoTls::Otherwise(why) => Finding::bad(
            "tls",
            format!("no TLS: {why}"),
            "what listens there is no contact point, or a firewall ends what it does not know: check host and port",
        ),
    }
}

/// What the certificate is worth.
fn judge(shown: &Shown, trust: &Trust, address: &ContactAddress) -> Finding {
    let pin = shown.pin.map(|pin| pin.to_string()).unwrap_or_default();
    let Err(why) = &shown.verdict else {
        let by = match trust {
            Trust::Pin(_) => "its key is the pinned one".to_owned(),
            _ => format!("certified by {}", shown.issuer),
        };
        return Finding::good("tls", format!("TLS 1.3, {by}"));
    };
    let clock = causeway_sip::date::rfc1123(unix_ms());
    let (found, advice) = match why {
        // A contact point makes its own certificate; one that somebody else has issued was made on the way.
        Distrust::Pin if !shown.self_signed => (
            format!(
                "TLS is inspected: not the pinned key, but a certificate for \"{}\" issued by \"{}\"",
                shown.subject, shown.issuer
            ),
            format!(
                "a firewall between here and {} takes TLS apart: have it leave this host alone; if the operator says \
                 that this is its own certificate, the pin is {pin}",
                address.host
            ),
        ),
        Distrust::Pin => (
            format!("wrong pin: the key there has {pin}"),
            "compare it with what the contact point prints at its start, over another way than this connection; if it \
             is the same, give it with --pin"
                .to_owned(),
        ),
        Distrust::Expired => (
            format!("the certificate has expired, by the clock of this machine ({clock})"),
            "check this machine's clock; if it is right, the operator must renew the certificate".to_owned(),
        ),
        Distrust::NotYet => (
            format!("the certificate is not valid yet, by the clock of this machine ({clock})"),
            "this machine's clock is far off: set it".to_owned(),
        ),
        Distrust::Issuer if shown.self_signed => (
            "the certificate is self-made: only its pin can be believed".to_owned(),
            format!("give --pin; it must be what the contact point prints at its start (here: {pin})"),
        ),
        Distrust::Issuer => (
            format!(
                "TLS is inspected, or the roots are missing: the certificate for \"{}\" was issued by \"{}\", whom \
                 this machine does not know",
                shown.subject, shown.issuer
            ),
            "ask the operator who issues its certificate; if it is this one, give its roots with --ca, else a \
             firewall takes TLS apart"
                .to_owned(),
        ),
        Distrust::Name => (
            format!("the certificate is for {}, not for {}", shown.names.join(", "), address.host),
            "use the name that the certificate bears".to_owned(),
        ),
        Distrust::Other(why) => (format!("the certificate is not believed: {why}"), String::new()),
    };
    Finding::bad("tls", found, advice)
}

/// Says Hello, hears it, and says goodbye.
fn hello(mut secure: Secure, report: &mut Report) -> bool {
    let begun = Instant::now();
    let now = || Time::ZERO + begun.elapsed();
    let mut tunnel = Tunnel::new(Arc::new(Config::new(Role::Agent)), Time::ZERO);
    let outcome = converse(&mut secure, &mut tunnel, now);
    match outcome {
        Ok(software) => {
            let took = begun.elapsed().as_secs_f64() * 1000.0;
            report.add(Finding::good("tunnel", format!("{software} answers ({took:.0} ms)")));
            tunnel.goodbye(GoodbyeReason::Idle, "the doctor has seen enough");
            let mut last = Vec::new();
            tunnel.fill(now(), 4096, &mut last);
            // Whether it hears it does not matter any more.
            let _ = secure.write_all(&last);
            true
        }
        Err(why) => {
            let advice = "the contact point does not want this tunnel; its log says more";
            report.add(Finding::bad("tunnel", why, advice));
            false
        }
    }
}

fn converse(secure: &mut Secure, tunnel: &mut Tunnel, now: impl Fn() -> Time) -> Result<String, String> {
    let mut bytes = Vec::new();
    tunnel.fill(now(), 4096, &mut bytes);
    secure.write_all(&bytes).map_err(|error| format!("the connection ends: {error}"))?;
    let mut buffer = [0; 4096];
    loop {
        let n = match secure.read(&mut buffer) {
            Ok(0) => return Err("the contact point ends the connection".to_owned()),
            Ok(n) => n,
            Err(error) => return Err(format!("the contact point does not answer: {error}")),
        };
        let mut input = &buffer[..n];
        while let Some(event) = tunnel.next(now(), &mut input) {
            match event {
                Event::Up(hello) => return Ok(hello.software.clone()),
                Event::Dead(Why::Goodbye { text, .. }) => {
                    return Err(format!("the contact point refuses: {text}"));
                }
                Event::Dead(why) => return Err(why.to_string()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(verdict: Result<(), Distrust>, self_signed: bool) -> Shown {
        let names = vec!["contact.example.com".to_owned()];
        let (subject, issuer) = ("contact.example.com".to_owned(), "Inspecting CA".to_owned());
        Shown { pin: None, subject, issuer, names, self_signed, verdict, speaks_tunnel: true }
    }

    #[test]
    fn certificates() {
        let pin = Trust::Pin(format!("sha256:{}", "00".repeat(32)).parse().unwrap());
        let address = ContactAddress { host: "c.example".into(), port: None };
        let found = |why, own, trust: &Trust| judge(&shown(Err(why), own), trust, &address).found;
        assert!(found(Distrust::Pin, true, &pin).starts_with("wrong pin"));
        let inspected = found(Distrust::Pin, false, &pin);
        assert!(inspected.starts_with("TLS is inspected") && inspected.contains("Inspecting CA"));
        assert!(found(Distrust::Expired, false, &Trust::System).contains("has expired"));
        assert!(found(Distrust::NotYet, false, &Trust::System).contains("not valid yet"));
        assert!(found(Distrust::Issuer, true, &Trust::System).contains("self-made"));
        assert!(found(Distrust::Issuer, false, &Trust::System).contains("Inspecting CA"));
        assert!(found(Distrust::Name, false, &Trust::System).contains("not for c.example"));
    }
}
