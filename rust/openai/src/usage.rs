//! Token usage, as providers tell it in all their spellings.
//!
//! One member of an odd type makes that member unknown, and nothing else. A part that cannot be
//! true is left out or cut to the whole, and the usage is marked as doubtful. A provider that tells
//! an impossible number of all tokens of input or output tells no usage.

use crate::json::{Json, Kind, Read};

/// More tokens than any answer has; a larger number is a fault, not a bill.
pub const MOST: u64 = (1 << 31) - 1;

/// Nano-USD in a USD.
const NANO: f64 = 1e9;
/// The most that a provider can say an answer cost, in nano-USD.
const COST_MOST: f64 = 1e18;
/// [`MOST`] where a number has a fraction or an exponent.
const MOST_FLOAT: f64 = 2_147_483_647.0;

/// Tokens of input, of which cached, and of output.
pub type Tokens = (u64, u64, u64);

/// A usage, read whole. Parts that are not told are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All tokens of input, from and into a cache too.
    pub input: Option<u64>,
    /// Tokens of input read from a cache.
    pub cached: u64,
    /// Tokens of input written to a cache, of whatever life.
    pub cache_write: u64,
    /// Those written to a cache that lives for an hour.
    pub cache_write_1h: u64,
    pub audio_input: u64,
    pub image_input: u64,
    /// All tokens of output, of reasoning too.
    pub output: Option<u64>,
    pub reasoning: u64,
    pub audio_output: u64,
    pub image_output: u64,
    /// Input and output together, if told.
    pub total: Option<u64>,
    /// Searches in the web.
    pub searches: u64,
    /// What the provider says the answer cost, in nano-USD.
    pub cost: Option<u64>,
    /// A number could not be true.
    pub doubtful: bool,
}

impl Usage {
    /// A usage of which only these tokens are known.
    #[must_use]
    pub fn of((input, cached, output): Tokens) -> Self {
        let cached = cached.min(input);
        Self { input: Some(input), cached, output: Some(output), ..Self::default() }
    }

    /// Read the usage object that is next; `None` where the value tells nothing. Answers, too,
    /// whether it was an object.
    pub(crate) fn read(json: &mut Json) -> Read<(bool, Option<Self>)> {
        let mut fields = Fields::default();
        let object = json.object(|json, name| fields.member(json, name))?;
        Ok((object, fields.usage()))
    }

    /// The usage after `later` was told: providers that tell input and output apart tell the input
    /// first.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        let mut both = later;
        if later.input.is_none() && later.total.is_none() {
            both.input = self.input;
            both.cached = self.cached;
            both.cache_write = self.cache_write;
            both.cache_write_1h = self.cache_write_1h;
            both.audio_input = self.audio_input;
            both.image_input = self.image_input;
        }
        if later.output.is_none() && later.total.is_none() {
            both.output = self.output;
            both.reasoning = self.reasoning;
            both.audio_output = self.audio_output;
            both.image_output = self.image_output;
        }
        both
    }

    /// The tokens where input and output are told.
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens> {
        Some((self.input?, self.cached, self.output?))
    }
}

/// A number as it is told.
#[derive(Clone, Copy, Default)]
enum Count {
    /// Not there, or null.
    #[default]
    Missing,
    Told(u64),
    /// Of another type.
    Odd,
    /// No number that can be true.
    Impossible,
}

impl Count {
    fn read(json: &mut Json) -> Read<Self> {
        Ok(match json.kind()? {
            Kind::Null => json.skip().map(|()| Self::Missing)?,
            Kind::Number => Self::parse(json.raw()?),
            _ => json.skip().map(|()| Self::Odd)?,
        })
    }

    /// A whole number, in whatever notation. `raw` is a number of JSON's grammar.
    #[allow(clippy::cast_sign_loss)] // the range is checked
    fn parse(raw: &[u8]) -> Self {
        let Ok(text) = str::from_utf8(raw) else { return Self::Impossible };
        if let Ok(count) = text.parse::<u64>() {
            return if count <= MOST { Self::Told(count) } else { Self::Impossible };
        }
        match text.parse::<f64>() {
            Ok(number) if number.fract() == 0.0 && (0.0..=MOST_FLOAT).contains(&number) => {
                Self::Told(number as u64)
            }
            _ => Self::Impossible,
        }
    }

    fn told(self) -> Option<u64> {
        if let Self::Told(count) = self { Some(count) } else { None }
    }
}

/// The members of a usage, as they are told, in the spellings of all providers.
#[derive(Default)]
struct Fields {
    /// `OpenAI`'s names for chat, completions and embeddings.
    prompt: Count,
    completion: Count,
    /// The names of responses, images and transcriptions, and Anthropic's.
    input: Count,
    output: Count,
    total: Count,
    cached: u64,
    /// Anthropic counts these beside its `input_tokens`.
    beside_read: u64,
    beside_written: u64,
    cache_write: u64,
    cache_write_1h: u64,
    audio_input: u64,
    image_input: u64,
    reasoning: u64,
    audio_output: u64,
    image_output: u64,
    searches: u64,
    cost: Option<u64>,
    odd: bool,
}

impl Fields {
    fn member(&mut self, json: &mut Json, name: &[u8]) -> Read<()> {
        match name {
            b"prompt_tokens" => self.prompt = self.count(json)?,
            b"completion_tokens" => self.completion = self.count(json)?,
            b"input_tokens" => self.input = self.count(json)?,
            b"output_tokens" => self.output = self.count(json)?,
            b"total_tokens" => self.total = self.count(json)?,
            b"prompt_tokens_details" | b"input_tokens_details" | b"input_token_details" => {
                self.details(json, Self::input_part)?;
            }
            b"completion_tokens_details" | b"output_tokens_details" | b"output_token_details" => {
                self.details(json, Self::output_part)?;
            }
            b"cached_tokens" | b"prompt_cache_hit_tokens" | b"num_cached_tokens" => {
                self.cached = self.cached.max(self.part(json)?);
            }
            b"cache_read_input_tokens" => self.beside_read = self.part(json)?,
            b"cache_creation_input_tokens" => self.beside_written = self.part(json)?,
            b"cache_creation" => self.details(json, |fields, json, name| match name {
                b"ephemeral_1h_input_tokens" => {
                    fields.cache_write_1h = fields.part(json)?;
                    Ok(())
                }
                _ => json.skip(),
            })?,
            b"reasoning_tokens" => self.reasoning = self.reasoning.max(self.part(json)?),
            b"num_sources_used" | b"num_search_queries" | b"web_search_requests" => {
                self.searches = self.searches.max(self.part(json)?);
            }
            b"server_tool_use" => self.details(json, |fields, json, name| match name {
                b"web_search_requests" => {
                    fields.searches = fields.searches.max(fields.part(json)?);
                    Ok(())
                }
                _ => json.skip(),
            })?,
            b"cost" => self.cost = nano(json)?,
            _ => json.skip()?,
        }
        Ok(())
    }

    fn input_part(&mut self, json: &mut Json, name: &[u8]) -> Read<()> {
        match name {
            b"cached_tokens" => self.cached = self.cached.max(self.part(json)?),
            b"cache_write_tokens" | b"cache_creation_tokens" | b"cache_creation_input_tokens" => {
                self.cache_write = self.cache_write.max(self.part(json)?);
            }
            b"audio_tokens" => self.audio_input = self.part(json)?,
            b"image_tokens" => self.image_input = self.part(json)?,
            _ => json.skip()?,
        }
        Ok(())
    }

    fn output_part(&mut self, json: &mut Json, name: &[u8]) -> Read<()> {
        match name {
            b"reasoning_tokens" => self.reasoning = self.reasoning.max(self.part(json)?),
            b"audio_tokens" => self.audio_output = self.part(json)?,
            b"image_tokens" => self.image_output = self.part(json)?,
            _ => json.skip()?,
        }
        Ok(())
    }

    fn details(
        &mut self,
        json: &mut Json,
        each: impl Fn(&mut Self, &mut Json, &[u8]) -> Read<()>,
    ) -> Read<()> {
        json.object(|json, name| each(self, json, name)).map(drop)
    }

    fn count(&mut self, json: &mut Json) -> Read<Count> {
        let count = Count::read(json)?;
        self.odd |= matches!(count, Count::Odd | Count::Impossible);
        Ok(count)
    }

    fn part(&mut self, json: &mut Json) -> Read<u64> {
        Ok(self.count(json)?.told().unwrap_or(0))
    }

    /// The usage; `None` where neither input, output nor a total is told, or one is impossible.
    fn usage(mut self) -> Option<Usage> {
        let wholes = [self.prompt, self.completion, self.input, self.output];
        if wholes.iter().any(|count| matches!(count, Count::Impossible)) {
            return None;
        }
        let mut input = self.prompt.told().or(self.input.told());
        let mut output = self.completion.told().or(self.output.told());
        let total = self.total.told();
        let beside = self.beside_read + self.beside_written;
        if self.prompt.told().is_none()
            && let Some(told) = input
            && total.is_none_or(|total| Some(total - told.min(total)) != output)
        {
            input = Some(told + beside);
        }
        if let Some(total) = total {
            match (input, output) {
                // Reasoning beside the output (xAI, Gemini).
                (Some(input), Some(told)) => output = Some(told.max(total.saturating_sub(input))),
                (Some(input), None) => output = total.checked_sub(input),
                (None, Some(output)) => input = total.checked_sub(output),
                (None, None) => {}
            }
        }
        input.or(output).or(total)?;
        let mut part = |count: u64, of: Option<u64>| {
            let most = of.unwrap_or(MOST);
            self.odd |= count > most;
            count.min(most)
        };
        let cache_write = self.cache_write.max(self.beside_written).max(self.cache_write_1h);
        Some(Usage {
            input,
            cached: part(self.cached.max(self.beside_read), input),
            cache_write: part(cache_write, input),
            cache_write_1h: part(self.cache_write_1h, input),
            audio_input: part(self.audio_input, input),
            image_input: part(self.image_input, input),
            output,
            reasoning: part(self.reasoning, output),
            audio_output: part(self.audio_output, output),
            image_output: part(self.image_output, output),
            total,
            searches: self.searches,
            cost: self.cost,
            doubtful: self.odd,
        })
    }
}

/// An amount in USD, as nano-USD; `None` where it cannot be one.
#[allow(clippy::cast_sign_loss)] // the range is checked
fn nano(json: &mut Json) -> Read<Option<u64>> {
    if json.kind()? != Kind::Number {
        return json.skip().map(|()| None);
    }
    let amount = str::from_utf8(json.raw()?).ok().and_then(|text| text.parse::<f64>().ok());
    let nano = amount.map(|usd| (usd * NANO).round());
    Ok(nano.filter(|nano| (0.0..=COST_MOST).contains(nano)).map(|nano| nano as u64))
}
