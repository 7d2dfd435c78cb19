//! Cuts of the network between the nodes. Clients still reach every node: it is those that are
//! cut off who might answer what is no longer true.

use super::{Fault, Stage};

#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Two sides that do not hear each other.
    Symmetric,
    /// One node that is not heard, or does not hear.
    OneWay,
    /// Two sides and one node that both hear.
    Bridge,
}

/// Cuts, and heals.
#[derive(Debug)]
pub(super) struct NetworkCut(Shape);

impl NetworkCut {
    pub(super) fn symmetric() -> Self {
        Self(Shape::Symmetric)
    }

    pub(super) fn one_way() -> Self {
        Self(Shape::OneWay)
    }

    pub(super) fn bridge() -> Self {
        Self(Shape::Bridge)
    }
}

impl Fault for NetworkCut {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        let first = stage.leader_or_any();
        let mut others = stage.fleet.members();
        others.retain(|place| *place != first);
        stage.rng.shuffle(&mut others);
        match self.0 {
            Shape::Symmetric => {
                let with_first = stage.rng.place(others.len() / 2 + 1);
                let mut side = others.split_off(others.len() - with_first);
                side.push(first);
                apart(stage, &side, &others);
                Ok(format!("cut between {side:?} and {others:?}"))
            }
            Shape::OneWay => {
                let hears = stage.rng.one_in(2);
                for other in &others {
                    let (from, to) = if hears {
                        (first, *other)
                    } else {
                        (*other, first)
                    };
                    stage.fleet.net.cut(from, to);
                }
                let what = if hears {
                    "is not heard"
                } else {
                    "does not hear"
                };
                Ok(format!("one-way cut: node {first} {what}"))
            }
            Shape::Bridge => {
                let bridge = others.pop().unwrap_or(first);
                let mut left = others.split_off(others.len().div_ceil(2));
                left.push(first);
                apart(stage, &left, &others);
                Ok(format!(
                    "cut between {left:?} and {others:?}, bridged by {bridge}"
                ))
            }
        }
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        let reset = stage.rng.one_in(2);
        stage.fleet.net.heal(reset);
        Ok(())
    }
}

fn apart(stage: &Stage<'_>, one: &[usize], other: &[usize]) {
    for a in one {
        for b in other {
            stage.fleet.net.cut(*a, *b);
            stage.fleet.net.cut(*b, *a);
        }
    }
}
