//! A row that is one text: whether a printer is there, which ruleset is active.

use crate::search::Model;

/// What is done to such a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum RegisterAction<'a> {
    /// Creates the row, which must not be there.
    Creates,
    /// Makes it this text.
    Sets(&'a str),
    /// Shows it; none where it is not there.
    Shows(Option<&'a str>),
}

/// The row: a text, or nothing.
pub(super) struct Register<'a>(core::marker::PhantomData<&'a ()>);

impl<'a> Model for Register<'a> {
    type State = Option<String>;
    type Action = RegisterAction<'a>;

    fn step(state: &Self::State, action: &Self::Action) -> Option<Self::State> {
        match action {
            RegisterAction::Creates => state.is_none().then(|| Some(String::new())),
            RegisterAction::Sets(text) => Some(Some((*text).to_owned())),
            RegisterAction::Shows(text) => (state.as_deref() == *text).then(|| state.clone()),
        }
    }

    fn observes(action: &Self::Action) -> bool {
        matches!(action, RegisterAction::Shows(_))
    }
}
