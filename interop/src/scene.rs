//! What most cases need: an operator, two agents, two phones that speak.

use crate::audio::{self, Speaker};
use crate::baresip::{Account, Baresip};
use crate::causeway::{Binary, Causeway};
use crate::kamailio::{Kamailio, PathSupport};
use crate::lab::{AGENT, CORE, Host, Lab};
use crate::process::{PATIENCE, until};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// What a case is given.
pub struct Bench<'a> {
    /// The network.
    pub lab: &'a Lab,
    /// An empty folder of its own.
    pub dir: &'a Path,
    /// The program under test.
    pub binary: &'a Binary,
    /// Whether repetition counts more than time: as often as it takes, not as often as a minute allows.
    pub thorough: bool,
}

/// Who stands at the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `causeway contact` before Kamailio.
    Kamailio(PathSupport),
    /// `causeway up`.
    Up,
}

/// Which customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Alice, behind two NATs.
    A,
    /// Bob, behind one.
    B,
}

impl Side {
    /// The host of the phone.
    pub fn phone(self) -> Host {
        if self == Self::A { Host::PhoneA } else { Host::PhoneB }
    }

    /// The host of the agent.
    pub fn agent(self) -> Host {
        if self == Self::A { Host::AgentA } else { Host::AgentB }
    }

    /// Who speaks there.
    pub fn user(self) -> &'static str {
        if self == Self::A { "alice" } else { "bob" }
    }

    fn speaker(self) -> Speaker {
        if self == Self::A { Speaker::Alice } else { Speaker::Bob }
    }

    fn index(self) -> usize {
        usize::from(self == Self::B)
    }
}

/// How long a voice lasts; calls in the lab are shorter.
const VOICE: u32 = 12;

impl Bench<'_> {
    /// The file that somebody speaks, made when first asked for.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn voice(&self, side: Side) -> Result<PathBuf> {
        let path = self.dir.join(format!("{}-says.wav", side.user()));
        if !path.exists() {
            audio::write(&path, &audio::speak(side.speaker(), VOICE))?;
        }
        Ok(path)
    }

    /// Whether one phone has heard what the other spoke, and only that.
    ///
    /// # Errors
    /// If it has heard too little, or something else.
    pub fn understood(&self, listener: &Baresip, speaker: Side) -> Result<String> {
        let other = if speaker == Side::A { Side::B } else { Side::A };
        self.recognised(&listener.heard()?, speaker, other)
            .with_context(|| format!("what {} heard", listener.uri()))
    }

    /// Whether samples are what `speaker` spoke, and not what `other` did.
    ///
    /// # Errors
    /// If they are too few, or something else.
    pub fn recognised(&self, heard: &[i16], speaker: Side, other: Side) -> Result<String> {
        let right = audio::compare(heard, &audio::read(&self.voice(speaker)?)?);
        let wrong = audio::compare(heard, &audio::read(&self.voice(other)?)?);
        ensure!(right.seconds >= 2.0, "only {:.1} s of sound", right.seconds);
        ensure!(
            right.median >= 0.9 && right.good >= 0.75,
            "correlation {right}, {:.0} % good",
            right.good * 100.0
        );
        ensure!(wrong.median < 0.6, "the control, another voice, correlates as well: {wrong}");
        Ok(format!("{}'s voice {right} (another's {:.2})", speaker.user(), wrong.median))
    }

    /// Whether both phones of a call have heard one another: the first speaks with Alice's voice.
    ///
    /// # Errors
    /// If one has not.
    pub fn both_understood(&self, alice: &Baresip, bob: &Baresip) -> Result<String> {
        Ok(format!("{}; {}", self.understood(bob, Side::A)?, self.understood(alice, Side::B)?))
    }
}

/// An operator and two agents with their tunnels up.
pub struct Scene<'a> {
    bench: &'a Bench<'a>,
    /// The contact point, alone or within `up`.
    pub operator: Causeway,
    /// The server behind it, if it is not ours.
    pub kamailio: Option<Kamailio>,
    /// The agents of the first customer and of the second.
    pub agents: [Causeway; 2],
}

impl<'a> Scene<'a> {
    /// Starts them all and waits until both tunnels are up.
    ///
    /// # Errors
    /// If anything does not start, or a tunnel does not come up.
    pub fn new(bench: &'a Bench<'a>, operator: Operator) -> Result<Self> {
        Self::with_agents(
            bench,
            operator,
            [&format!("{AGENT}:5060"), &format!("{AGENT}:5060")],
            [Side::A.agent(), Side::B.agent()],
        )
    }

    /// The same with agents elsewhere, for instance beside the phones.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn with_agents(
        bench: &'a Bench<'a>,
        operator: Operator,
        listen: [&str; 2],
        hosts: [Host; 2],
    ) -> Result<Self> {
        let Bench { lab, dir, binary, .. } = *bench;
        let (kamailio, operator) = match operator {
            Operator::Kamailio(path) => {
                let kamailio = Kamailio::start(lab, dir, Host::Core, CORE, path)?;
                (Some(kamailio), binary.contact(lab, dir, path == PathSupport::Strict)?)
            }
            Operator::Up => {
                let up = binary.up(lab, dir)?;
                for side in [Side::A, Side::B] {
                    binary.subscriber(up.data(), side.user(), "secret")?;
                }
                (None, up)
            }
        };
        let pin = operator.pin()?;
        let agent = |index: usize| binary.agent(lab, dir, hosts[index], listen[index], &pin);
        let scene = Self { bench, operator, kamailio, agents: [agent(0)?, agent(1)?] };
        for side in [Side::A, Side::B] {
            until(PATIENCE, || {
                let status = scene.agent(side).status("agent")?;
                ensure!(status["state"] == "up", "the tunnel of agent {side:?} is not up: {status}");
                Ok(())
            })?;
        }
        Ok(scene)
    }

    /// Of processes that run already, with their tunnels up.
    pub fn of(
        bench: &'a Bench<'a>,
        operator: Causeway,
        kamailio: Option<Kamailio>,
        agents: [Causeway; 2],
    ) -> Self {
        Self { bench, operator, kamailio, agents }
    }

    /// An agent.
    pub fn agent(&self, side: Side) -> &Causeway {
        &self.agents[side.index()]
    }

    /// The same, to be ended.
    pub fn agent_mut(&mut self, side: Side) -> &mut Causeway {
        &mut self.agents[side.index()]
    }

    /// The processes of both agents and the operator.
    pub fn pids(&mut self) -> Vec<u32> {
        let [a, b] = &mut self.agents;
        [a, b, &mut self.operator].into_iter().map(|causeway| causeway.process().pid()).collect()
    }

    /// A registered phone behind the agent of its side.
    ///
    /// # Errors
    /// If it does not register.
    pub fn phone(&self, side: Side) -> Result<Baresip> {
        self.phone_with(side, |_| {})
    }

    /// The same, set up differently.
    ///
    /// # Errors
    /// If it does not register.
    pub fn phone_with(&self, side: Side, change: impl FnOnce(&mut Account<'_>)) -> Result<Baresip> {
        let says = self.bench.voice(side)?;
        let proxy = format!("{AGENT}:5060");
        let mut account = Account::new(side.user(), &proxy, &says);
        change(&mut account);
        Baresip::registered(self.bench.lab, self.bench.dir, side.phone(), &account)
    }

    /// Waits until no part of Causeway holds a call any more.
    ///
    /// # Errors
    /// If one is left.
    pub fn no_calls(&self) -> Result<()> {
        for (process, node) in
            [(&self.operator, "contact"), (&self.agents[0], "agent"), (&self.agents[1], "agent")]
        {
            until(PATIENCE, || {
                let calls = process.status(node)?["calls"].clone();
                ensure!(calls.as_array().is_some_and(Vec::is_empty), "a call is left at the {node}: {calls}");
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// One calls, the other picks up, and both hear so many seconds.
///
/// # Errors
/// If the call does not stand, or one hears nothing.
pub fn talk(caller: &mut Baresip, callee: &mut Baresip, seconds: u32) -> Result<()> {
    let rings = callee.mark();
    let dialled = caller.dial(&callee.uri())?;
    caller.established(dialled)?;
    callee.established(rings)?;
    caller.hears(seconds)?;
    callee.hears(seconds)
}

/// One hangs up, and both see the end of the call.
///
/// # Errors
/// If one does not.
pub fn hang_up(by: &mut Baresip, other: &Baresip) -> Result<()> {
    let mark = other.mark();
    let own = by.hang_up()?;
    by.terminated(own)?;
    other.terminated(mark)
}
