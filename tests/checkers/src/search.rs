//! The search for an order: Wing & Gong ("Testing and verifying concurrent objects", 1993) with
//! Lowe's memoization ("Testing for linearizability", 2017).
//!
//! A configuration is the set of operations that took effect and the state that they made. The set
//! is a bit per operation; a configuration that was met before, by whatever order, is not
//! continued again. Remembered is a 128-bit hash of both: two that fall together by chance could
//! hide an order, with a probability below 2^-80 at [`CONFIGURATIONS_MAX`].
//!
//! Two reductions keep the search short without losing an order:
//! - an operation that never changes anything ([`Model::observes`]) and may come next is taken at
//!   once: whatever order explains the rest explains it with this one in front, too. (A write that
//!   happens to change nothing now may be needed later.)
//! - where all that may come next commutes ([`Model::commutes`]), only the one that must come
//!   first is tried.

use core::hash::{Hash, Hasher};
use std::collections::HashSet;
use std::hash::DefaultHasher;

use crate::history::Nanos;

/// Most configurations that one search looks at: some 200 MB of memory, a minute of time.
pub(crate) const CONFIGURATIONS_MAX: usize = 4_000_000;

/// What operations do to a state, one after the other.
pub(crate) trait Model {
    /// The state.
    type State: Clone + Eq + Hash + core::fmt::Debug;
    /// An operation with the answer that it got.
    type Action;

    /// The state after the action; none where the answer is not one that this state gives.
    fn step(state: &Self::State, action: &Self::Action) -> Option<Self::State>;

    /// Whether the action leaves every state as it is: a read, a refusal.
    fn observes(action: &Self::Action) -> bool;

    /// Whether the order of the two does not matter, wherever both can be done one after the other:
    /// neither looks at what the other changes.
    fn commutes(_a: &Self::Action, _b: &Self::Action) -> bool {
        false
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct Item<A> {
    /// It takes effect after this,
    pub(crate) invoked: Nanos,
    /// and before this.
    pub(crate) returned: Nanos,
    /// Whether it took effect; otherwise it may have.
    pub(crate) certain: bool,
    /// What it does.
    pub(crate) action: A,
    /// Whose it is, for who asked.
    pub(crate) source: usize,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is an order.
    Order,
    /// There is none. Of the order that got farthest: how many took effect, the state then, and
    /// the sources of what could have come next.
    None {
        explained: usize,
        state: String,
        stuck: Vec<usize>,
    },
    /// [`CONFIGURATIONS_MAX`] were not enough.
    Undecided,
}

/// Looks for an order of all certain items, and of as many of the others as it needs.
pub(crate) fn search<M: Model>(initial: M::State, items: Vec<Item<M::Action>>) -> Found {
    Search::<M>::new(items).run(initial)
}

const END: usize = usize::MAX;

/// Items that did not take effect yet, by the time of their invocation: a list with removal and
/// reinsertion in constant time (Knuth's dancing links).
struct Waiting {
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl Waiting {
    /// The place of the head is the number of items.
    fn new(items: usize) -> Self {
        let next = (1..=items).chain([0]).collect();
        let previous = [items].into_iter().chain(0..items).collect();
        Self { next, previous }
    }

    fn after(&self, place: usize) -> usize {
        self.next.get(place).copied().unwrap_or(END)
    }

    fn link(&mut self, left: usize, right: usize) {
        if let (Some(next), Some(previous)) =
            (self.next.get_mut(left), self.previous.get_mut(right))
        {
            (*next, *previous) = (right, left);
        }
    }

    fn neighbours(&self, place: usize) -> (usize, usize) {
        let left = self.previous.get(place).copied().unwrap_or(END);
        (left, self.after(place))
    }

    fn remove(&mut self, place: usize) {
        let (left, right) = self.neighbours(place);
        self.link(left, right);
    }

    /// Undoes [`remove`](Self::remove); in the reverse order only.
    fn restore(&mut self, place: usize) {
        let (left, right) = self.neighbours(place);
        self.link(left, place);
        self.link(place, right);
    }
}

/// A step of the current order.
struct Frame<S> {
    /// The item that took effect to get here; none at the start.
    taken: Option<usize>,
    state: S,
    /// What may come next, worst first.
    choices: Vec<usize>,
}

struct Search<M: Model> {
    items: Vec<Item<M::Action>>,
    waiting: Waiting,
    /// Hash of the set of items that took effect.
    done: u128,
    /// Certain items that wait.
    left: usize,
    seen: HashSet<u128>,
    /// The dead end that got farthest: certain items left, the state, and who could have been next.
    farthest: Option<(usize, M::State, Vec<usize>)>,
}

impl<M: Model> Search<M> {
    fn new(mut items: Vec<Item<M::Action>>) -> Self {
        items.sort_by_key(|item| item.invoked);
        let waiting = Waiting::new(items.len());
        let left = items.iter().filter(|item| item.certain).count();
        Self {
            items,
            waiting,
            done: 0,
            left,
            seen: HashSet::new(),
            farthest: None,
        }
    }

    fn run(mut self, initial: M::State) -> Found {
        let choices = self.choices(&initial);
        let mut order = vec![Frame {
            taken: None,
            state: initial,
            choices,
        }];
        while let Some(frame) = order.last_mut() {
            if self.left == 0 {
                return Found::Order;
            }
            if self.seen.len() >= CONFIGURATIONS_MAX {
                return Found::Undecided;
            }
            if let Some(choice) = frame.choices.pop() {
                let Some(state) = self
                    .item(choice)
                    .and_then(|i| M::step(&frame.state, &i.action))
                else {
                    continue;
                };
                if let Some(next) = self.take(choice, state) {
                    order.push(next);
                }
            } else if let Some(taken) = order.pop().and_then(|frame| frame.taken) {
                self.give_back(taken);
            }
        }
        let Some((left, state, stuck)) = self.farthest else {
            return Found::Order;
        };
        let certain = self.items.iter().filter(|item| item.certain).count();
        Found::None {
            explained: certain - left,
            state: format!("{state:?}"),
            stuck,
        }
    }

    fn item(&self, place: usize) -> Option<&Item<M::Action>> {
        self.items.get(place)
    }

    fn is_certain(&self, place: usize) -> bool {
        self.item(place).is_some_and(|item| item.certain)
    }

    /// Lets an item take effect, unless the configuration was met before.
    fn take(&mut self, place: usize, state: M::State) -> Option<Frame<M::State>> {
        let done = self.done ^ hash(&place);
        if !self.seen.insert(done ^ hash(&state)) {
            return None;
        }
        self.done = done;
        self.left -= usize::from(self.is_certain(place));
        self.waiting.remove(place);
        let choices = self.choices(&state);
        Some(Frame {
            taken: Some(place),
            state,
            choices,
        })
    }

    fn give_back(&mut self, place: usize) {
        self.waiting.restore(place);
        self.left += usize::from(self.is_certain(place));
        self.done ^= hash(&place);
    }

    /// What may come next in `state`, the best last.
    fn choices(&mut self, state: &M::State) -> Vec<usize> {
        let minimal = self.minimal();
        let mut changing: Vec<usize> = Vec::new();
        let mut impossible = false;
        for &place in &minimal {
            let Some(item) = self.items.get(place) else {
                continue;
            };
            match M::step(state, &item.action) {
                Some(_) if item.certain && M::observes(&item.action) => return vec![place],
                Some(after) if item.certain || after != *state => changing.push(place),
                Some(_) => {}
                None => impossible |= item.certain,
            }
        }
        if changing.is_empty() {
            self.note_dead_end(state, &minimal);
        }
        // The one that must be answered first comes first; what may never have happened, last.
        changing.sort_by_key(|&place| {
            let item = self.item(place);
            let last = item.map_or(Nanos::MAX, |item| item.returned);
            core::cmp::Reverse((!self.is_certain(place), last))
        });
        if !impossible && self.all_commute(&minimal) {
            changing = changing.pop().into_iter().collect();
        }
        changing
    }

    /// Items before which nothing else must come.
    fn minimal(&self) -> Vec<usize> {
        let head = self.items.len();
        let mut first_return = Nanos::MAX;
        let mut minimal = Vec::new();
        let mut place = self.waiting.after(head);
        while let Some(item) = self.item(place) {
            if item.invoked > first_return {
                break;
            }
            if item.certain {
                first_return = first_return.min(item.returned);
            }
            minimal.push(place);
            place = self.waiting.after(place);
        }
        minimal
    }

    fn all_commute(&self, minimal: &[usize]) -> bool {
        let actions: Vec<_> = minimal
            .iter()
            .filter_map(|&place| self.item(place))
            .collect();
        actions.iter().all(|item| item.certain)
            && actions.iter().enumerate().all(|(nth, a)| {
                let others = actions.iter().skip(nth + 1);
                others
                    .into_iter()
                    .all(|b| M::commutes(&a.action, &b.action))
            })
    }

    fn note_dead_end(&mut self, state: &M::State, minimal: &[usize]) {
        if self.left == 0
            || self
                .farthest
                .as_ref()
                .is_some_and(|(left, ..)| *left <= self.left)
        {
            return;
        }
        let waiting = minimal.iter().filter_map(|&place| self.item(place));
        let waiting = waiting.map(|item| item.source).collect();
        self.farthest = Some((self.left, state.clone(), waiting));
    }
}

/// 128 bits of two differently keyed SipHashes.
fn hash(value: &impl Hash) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        value.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}
