//! The members of a body that the decision looks at, by endpoint.

use super::name::same_folded;

/// Fields that some endpoint looks at.
#[derive(Clone, Copy)]
pub(super) enum Field {
    Model,
    Stream,
    StreamOptions,
    MaxTokens,
    MaxCompletionTokens,
    MaxOutputTokens,
    N,
    BestOf,
    Prompt,
    Messages,
    Input,
    Background,
    /// Input that the provider keeps.
    PreviousResponseId,
    Conversation,
    StoredPrompt,
    /// A choice of other models.
    Models,
    Fallbacks,
    Route,
}

/// Their names, in the order of [`Field`].
pub(super) const NAMES: [&str; 18] = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
    "prompt",
    "messages",
    "input",
    "background",
    "previous_response_id",
    "conversation",
    "prompt",
    "models",
    "fallbacks",
    "route",
];

impl Field {
    /// The field of that name, if the endpoint (a number of `types.Endpoint`) looks at it.
    pub(super) fn of(name: &str, endpoint: u8) -> Option<Self> {
        let (field, endpoints): (Self, &[u8]) = match name {
            "model" => (Self::Model, &[0, 1, 2, 3, 4, 5]),
            "stream" => (Self::Stream, &[0, 1, 2, 3, 4, 5]),
            "stream_options" => (Self::StreamOptions, &[0, 1]),
            "max_tokens" => (Self::MaxTokens, &[0, 1]),
            "max_completion_tokens" => (Self::MaxCompletionTokens, &[0]),
            "max_output_tokens" => (Self::MaxOutputTokens, &[2]),
            "n" => (Self::N, &[0, 1, 4]),
            "best_of" => (Self::BestOf, &[1]),
            "prompt" if endpoint == 2 => (Self::StoredPrompt, &[2]),
            "prompt" => (Self::Prompt, &[1]),
            "messages" => (Self::Messages, &[0]),
            "input" => (Self::Input, &[2]),
            "background" => (Self::Background, &[2]),
            "previous_response_id" => (Self::PreviousResponseId, &[2]),
            "conversation" => (Self::Conversation, &[2]),
            "models" => (Self::Models, &[0, 1, 2, 3, 4, 5]),
            "fallbacks" => (Self::Fallbacks, &[0, 1, 2, 3, 4, 5]),
            "route" => (Self::Route, &[0, 1, 2, 3, 4, 5]),
            _ => return None,
        };
        endpoints.contains(&endpoint).then_some(field)
    }

    /// The field whose name differs from this one by case alone. JSON readers that ignore case,
    /// such as those of Go and .NET, take one for the other.
    fn folded(name: &str, endpoint: u8) -> Option<Self> {
        let known = NAMES.iter().find(|known| same_folded(name, known) && **known != name)?;
        Self::of(known, endpoint)
    }
}

/// A member of a body that is looked at.
pub(super) enum Member {
    Field(Field),
    /// A name that some readers take for this field's.
    Folded(Field),
}

impl Member {
    pub(super) fn of(name: &str, endpoint: u8) -> Option<Self> {
        if let Some(field) = Field::of(name, endpoint) {
            return Some(Self::Field(field));
        }
        let plain = name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        if plain { None } else { Field::folded(name, endpoint).map(Self::Folded) }
    }
}
