//! `causeway subscriber`: the subscriber database by hand.

use crate::cli::{Database, SubscriberAction};
use crate::dirs;
use crate::exit::{Failure, Kind, Outcome};
use crate::glue::{subscribers, unix_ms};
use causeway_store::record::Subscriber;
use causeway_subscribers::{Error, Subscribers};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Read};
use std::path::Path;

/// Does what was asked.
pub fn run(action: SubscriberAction) -> Outcome {
    match action {
        SubscriberAction::Add { uri, password_stdin, database } => {
            let mut known = open(&database)?;
            let password = password(password_stdin)?;
            known.add(&uri, password.as_bytes(), unix_ms() / 1000).map_err(explain)
        }
        SubscriberAction::Passwd { uri, password_stdin, database } => {
            let mut known = open(&database)?;
            let password = password(password_stdin)?;
            known.set_password(&uri, password.as_bytes()).map_err(explain)
        }
        SubscriberAction::Remove { uri, database } => open(&database)?.remove(&uri).map_err(explain),
        SubscriberAction::List { database } => list(&open(&database)?, database.json),
        SubscriberAction::Show { uri, database } => show(&open(&database)?, &uri, database.json),
        SubscriberAction::Import { file, database } => import(&mut open(&database)?, &file, database.json),
    }
}

fn open(database: &Database) -> Result<Subscribers, Failure> {
    subscribers(&dirs::data(database.data.clone(), "up")?)
}

fn explain(error: Error) -> Failure {
    Failure::new(kind(&error), error.to_string())
}

fn kind(error: &Error) -> Kind {
    match error {
        Error::Address(_) | Error::EmptyPassword => Kind::Usage,
        Error::Exists(_) | Error::Missing(_) => Kind::Negative,
        Error::Store(_) => Kind::Unreachable,
    }
}

/// The password from the terminal, or the first line of standard input.
fn password(stdin: bool) -> Result<String, Failure> {
    let read = if stdin || !std::io::stdin().is_terminal() {
        let mut line = String::new();
        std::io::stdin()
            .lock()
            .take(4096)
            .read_line(&mut line)
            .map(|_| line.trim_end_matches(['\r', '\n']).to_owned())
    } else {
        rpassword::prompt_password("Password: ")
    };
    read.map_err(|error| Failure::usage(format!("cannot read the password: {error}")))
}

fn describe(aor: &str, subscriber: &Subscriber) -> Value {
    json!({ "uri": aor, "username": subscriber.username, "realm": subscriber.realm, "created": subscriber.created })
}

fn list(known: &Subscribers, as_json: bool) -> Outcome {
    let all = known.all().map_err(explain)?;
    if as_json {
        let list: Vec<Value> = all.iter().map(|(aor, subscriber)| describe(aor, subscriber)).collect();
        println!("{}", json!({ "version": 1, "subscribers": list }));
    } else {
        all.iter().for_each(|(aor, _)| println!("{aor}"));
    }
    Ok(())
}

fn show(known: &Subscribers, uri: &str, as_json: bool) -> Outcome {
    let found = known.get(uri).map_err(explain)?;
    let subscriber = found.ok_or_else(|| explain(Error::Missing(uri.to_owned())))?;
    if as_json {
        println!("{}", json!({ "version": 1, "subscriber": describe(uri, &subscriber) }));
    } else {
        println!("uri       {uri}\nusername  {}\nrealm     {}", subscriber.username, subscriber.realm);
    }
    Ok(())
}

/// One line of a CSV file.
#[derive(Deserialize)]
struct Row {
    uri: String,
    password: String,
}

/// Lines of a file that are written at once.
const AT_ONCE: usize = 1000;

/// Adds or changes every subscriber of a file. At a line that cannot be used it stops: some of those before it may
/// have been written, which the error tells.
fn import(known: &mut Subscribers, file: &Path, as_json: bool) -> Outcome {
    let input: Box<dyn Read> = match file == Path::new("-") {
        true => Box::new(std::io::stdin()),
        false => Box::new(
            std::fs::File::open(file)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?,
        ),
    };
    let (mut added, mut all) = (0, 0);
    let mut rows = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(input).into_deserialize();
    loop {
        let batch: Result<Vec<(String, Vec<u8>)>, csv::Error> = rows
            .by_ref()
            .take(AT_ONCE)
            .map(|row| row.map(|Row { uri, password }| (uri, password.into_bytes())))
            .collect();
        let written = |why: String| format!("{}: {why}; {all} lines before were written", file.display());
        let batch = batch.map_err(|error| Failure::usage(written(error.to_string())))?;
        if batch.is_empty() {
            break;
        }
        added += known.import(&batch, unix_ms() / 1000).map_err(|error| {
            let (kind, why) = (kind(&error), written(error.to_string()));
            Failure::new(kind, why)
        })?;
        all += batch.len();
    }
    let changed = all - added;
    match as_json {
        true => println!("{}", json!({ "version": 1, "added": added, "changed": changed })),
        false => println!("{added} added, {changed} changed"),
    }
    Ok(())
}
