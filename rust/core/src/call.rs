//! The values of a call: what a request asks for, what it reserves, and what it used.

use crate::{
    levels::Cost,
    model::ModelName,
    units::{AMOUNT_MAX, Known, Price, TOKENS_MAX, estimate},
};

/// The numbers of `types.Endpoint`.
pub mod endpoint {
    pub const CHAT_COMPLETIONS: u8 = 0;
    pub const COMPLETIONS: u8 = 1;
    pub const RESPONSES: u8 = 2;
    pub const EMBEDDINGS: u8 = 3;
    pub const IMAGES: u8 = 4;
    pub const MODERATIONS: u8 = 5;
    pub const MODELS: u8 = 6;
    /// A guarded path that is no call of the API.
    pub const OTHER: u8 = 7;
    pub const GENERATES_TEXT: [u8; 3] = [CHAT_COMPLETIONS, COMPLETIONS, RESPONSES];
}
pub const OUTCOME_OK: u8 = 1;

/// A request to be admitted.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub index: u32,
    pub model: ModelName,
    pub endpoint: u8,
    pub upstream: u8,
    pub prompt_bytes: u64,
    /// Tokens of input that the provider may add to the prompt: money is reserved for them, while
    /// token limits are charged with them once they are known.
    pub stored_input: u64,
    /// `None`: the model's default.
    pub max_tokens: Option<u64>,
    pub choices: u64,
    pub stream: bool,
}

/// What the upstream reported as used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub input: u64,
    pub cached: u64,
    pub output: u64,
    pub status: u16,
    pub outcome: u8,
    pub latency_us: u64,
    pub ttft_us: u64,
}

/// The size of a request whose model is known.
#[derive(Clone, Copy)]
pub struct Size {
    pub input: u64,
    pub output: u64,
    pub units: u32,
    pub price: Option<Price>,
    pub cost: Cost,
}

/// Compute what a request of this model reserves.
#[must_use]
pub fn size(request: &Request, known: Known) -> Size {
    let input = estimate(request.prompt_bytes);
    let max = request.max_tokens.unwrap_or(known.max_output);
    // Pictures that are priced by the token produce as many tokens as the model produces at most.
    let pictures =
        request.endpoint == endpoint::IMAGES && known.price.is_some_and(|price| price.output > 0);
    let generates = pictures || endpoint::GENERATES_TEXT.contains(&request.endpoint);
    let output = if generates { max.saturating_mul(request.choices).min(TOKENS_MAX) } else { 0 };
    let units = if request.endpoint == endpoint::IMAGES {
        request.choices.min(u64::from(u32::MAX)) as u32
    } else {
        1
    };
    let most_input = input.saturating_add(request.stored_input).min(TOKENS_MAX);
    let nano = known
        .price
        .map_or(0, |price| price.cost(most_input, 0, output, u64::from(units)))
        .min(AMOUNT_MAX);
    Size {
        input,
        output,
        units,
        price: known.price,
        cost: Cost { tokens: input.saturating_add(output).min(TOKENS_MAX), nano },
    }
}
