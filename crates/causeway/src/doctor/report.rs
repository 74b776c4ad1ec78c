//! What the doctor says.

use serde_json::{Value, json};
use std::io::Write;

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// It works, and somebody should know something about it.
    Notable,
    Bad,
    /// It was not tried, for a reason.
    Skipped,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Notable => "note",
            Self::Bad => "FAILED",
            Self::Skipped => "-",
        }
    }
}

/// One step: what was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub step: &'static str,
    pub verdict: Verdict,
    pub found: String,
    pub advice: String,
}

impl Finding {
    pub fn good(step: &'static str, found: impl Into<String>) -> Self {
        Self { step, verdict: Verdict::Good, found: found.into(), advice: String::new() }
    }

    pub fn notable(step: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { step, verdict: Verdict::Notable, found: found.into(), advice: advice.into() }
    }

    pub fn bad(step: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { step, verdict: Verdict::Bad, found: found.into(), advice: advice.into() }
    }

    pub fn skipped(step: &'static str, why: impl Into<String>) -> Self {
        Self { step, verdict: Verdict::Skipped, found: why.into(), advice: String::new() }
    }
}

/// The findings so far, shown as they come.
pub struct Report {
    json: bool,
    findings: Vec<Finding>,
}

impl Report {
    pub fn new(json: bool) -> Self {
        Self { json, findings: Vec::new() }
    }

    pub fn add(&mut self, finding: Finding) {
        if !self.json {
            let mut out = std::io::stdout().lock();
            // A closed pipe ends nothing but the showing.
            let _ = writeln!(out, "{:<7}{:<10}{}", finding.verdict.word(), finding.step, finding.found);
            if !finding.advice.is_empty() {
                let _ = writeln!(out, "       {:<10}→ {}", "", finding.advice);
            }
        }
        self.findings.push(finding);
    }

    /// The step that failed, if one did.
    pub fn failed(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.verdict == Verdict::Bad)
    }

    pub fn to_json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "step": finding.step,
                "verdict": match finding.verdict {
                    Verdict::Good => "ok",
                    Verdict::Notable => "note",
                    Verdict::Bad => "failed",
                    Verdict::Skipped => "skipped",
                },
                "found": finding.found,
                "advice": finding.advice,
            })
        });
        json!({ "steps": findings.collect::<Vec<_>>(), "failed": self.failed().map(|finding| finding.step) })
    }
}
