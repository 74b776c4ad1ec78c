//! The schema, as the list of steps that lead to it.

use rusqlite::Connection;

/// Step `n` turns version `n` into version `n + 1`. Steps are never changed once released, only added.
const STEPS: &[&str] = &[
    "CREATE TABLE record (
        space TEXT NOT NULL,
        key   BLOB NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (space, key)
    ) WITHOUT ROWID",
    // The generation of the log that was merged last: a program that knows no log must not open the file.
    "CREATE TABLE log (merged INTEGER NOT NULL);
     INSERT INTO log VALUES (0)",
];

/// The version that this program writes.
pub(crate) const VERSION: usize = STEPS.len();

/// Brings a file to [`VERSION`]; each step is a transaction with its version number.
///
/// # Errors
/// `Ok(Err(version))` if the file is newer than this program.
pub(crate) fn migrate(db: &mut Connection) -> rusqlite::Result<Result<(), usize>> {
    let found: usize = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > VERSION {
        return Ok(Err(found));
    }
    for (index, step) in STEPS.iter().enumerate().skip(found) {
        let step_and_version = db.transaction()?;
        step_and_version.execute_batch(step)?;
        step_and_version.pragma_update(None, "user_version", index + 1)?;
        step_and_version.commit()?;
    }
    Ok(Ok(()))
}
