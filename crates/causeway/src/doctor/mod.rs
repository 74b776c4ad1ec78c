//! `causeway doctor`: each step on the way to the operator, tried in turn; the first that fails is named, with what
//! to do about it.

mod account;
mod report;
mod secure;
mod way;

use crate::account::Account;
use crate::agent::{contacts, http_proxy, trust};
use crate::cli::Doctor;
use crate::exit::{Failure, Kind, Outcome};
use account::Patient;
use report::Report;

/// Runs `causeway doctor`.
///
/// # Errors
/// If the options make no sense, or with the step that has failed.
pub fn run(options: Doctor) -> Outcome {
    let file = options.account.as_deref();
    let account = file.map(Account::read).transpose()?.unwrap_or_default();
    let patient = Patient::of(&account);
    let keys = account.policy().map_err(Failure::usage)?;
    let contacts = contacts(options.contact.into_iter().collect(), account.contact)?;
    let proxy = options.proxy.map(|proxy| http_proxy(&proxy.0)).transpose()?;
    let trust = trust(options.pin, options.ca, account.pin)?;
    let mut report = Report::new(options.json);
    for contact in &contacts {
        let Some(way) = way::find(contact, proxy.as_ref(), &mut report) else { continue };
        if !secure::greet(way, &trust, &mut report)? {
            continue;
        }
        match &patient {
            Some(patient) => {
                account::examine(
                    patient,
                    &keys,
                    contact,
                    proxy.clone(),
                    &trust,
                    options.call.as_deref(),
                    &mut report,
                )?;
            }
            None => report.add(report::Finding::skipped("account", "no account was given (--account)")),
        }
    }
    if options.json {
        println!("{:#}", report.to_json());
    }
    match report.failed() {
        None => Ok(()),
        Some(finding) => Err(Failure::new(Kind::Negative, format!("{}: {}", finding.step, finding.found))),
    }
}
