//! Why items are recommended, in words: what adds most to the score of each, with its share of all that speaks for it.

use lookalike_bundle::{Bundle, ItemRow, Row, UserRow};
use lookalike_retrieve::{Hit, Link, Reason, Signal, Why};
use serde_json::{Value, json};

use crate::run;
use crate::say::grouped;

/// Reasons that are shown of an item.
const SHOWN: usize = 3;
/// What speaks against an item is shown from this part of what speaks for it on.
const AGAINST: f64 = 0.1;

/// One reason in words.
pub struct Told {
    signal: &'static str,
    adds: f64,
    share: f64,
    text: String,
}

impl Told {
    fn new(signal: &'static str, adds: f64, share: f64, text: String) -> Self {
        Self { signal, adds, share, text }
    }

    /// The line that people read, below that of its item.
    pub fn line(&self) -> String {
        match self.adds < 0.0 {
            true => format!("     against: {}", self.text),
            false => format!("     {:>3.0} %  {}", self.share * 100.0, self.text),
        }
    }

    pub fn json(&self) -> Value {
        json!({ "signal": self.signal, "adds": self.adds, "share": self.share, "text": self.text })
    }
}

/// What a ranker's reasons say: those that add most, and what speaks most against the item where it weighs.
pub fn ranked(bundle: &Bundle, reasons: &[Reason]) -> Vec<Told> {
    let mut told = Vec::new();
    let for_it: f64 = reasons.iter().map(|reason| reason.adds.max(0.0)).sum();
    let with_figures = |reason: &&Reason| reason.why.is_some();
    let most = reasons.iter().filter(|reason| reason.adds > 0.0).filter(with_figures).take(SHOWN);
    let least = reasons.iter().rev().filter(with_figures).take(1).filter(|reason| reason.adds < -AGAINST * for_it);
    for reason in most.chain(least) {
        if let Some(why) = &reason.why {
            told.push(Told::new(reason.signal.name(), reason.adds, reason.share, words(bundle, reason.signal, why)));
        }
    }
    told
}

/// What can be said of an item that no ranker placed: by which link of the chain it is, and what its score is made of.
/// `weight` is that of the history where repeats count.
pub fn unranked(bundle: &Bundle, user: UserRow, link: Link, hit: &Hit<ItemRow>, weight: Option<f64>) -> Vec<Told> {
    let score = f64::from(hit.score);
    let model = |adds, share| {
        Told::new("model", adds, share, format!("what similar users had, by the score of `{}`", bundle.manifest.model))
    };
    match (link, weight) {
        (Link::Friends, _) => {
            let friends = score.floor();
            let text = format!("{} had it", count(friends, "friend of the user", "friends of the user"));
            vec![Told::new("friends", score, 1.0, text)]
        }
        (Link::Blend, _) => {
            let text = format!("the score of `{}`, blended with what users like this one had", bundle.manifest.model);
            vec![Told::new("blend", score, 1.0, text)]
        }
        (Link::Segment, _) => {
            let text = "users of whom the same is declared had it".to_owned();
            vec![Told::new("segment", score, 1.0, text)]
        }
        (Link::Popular, _) => vec![Told::new("popular", score, 1.0, format!("{} had it", users(score)))],
        (Link::Model, None) => vec![model(score, 1.0)],
        (Link::Model, Some(weight)) => {
            let had = bundle.history.items(user).binary_search(&hit.row.get());
            let times = had.map_or(0.0, |nth| f64::from(bundle.history.weights(user)[nth]));
            let often = weight * times.ln_1p();
            let rest = score - often;
            let all = often + rest.max(0.0);
            let share = |adds: f64| if all > 0.0 { adds.max(0.0) / all } else { 1.0 };
            let mut told = vec![model(rest, share(rest))];
            if times > 0.0 {
                told.push(Told::new("often", often, share(often), format!("{} in the user's history", number(times))));
            }
            told.sort_by(|a, b| b.adds.total_cmp(&a.adds));
            told
        }
    }
}

fn words(bundle: &Bundle, signal: Signal, why: &Why) -> String {
    let what = if signal == Signal::Brand { "brand" } else { "category" };
    match why {
        Why::Model { place } => {
            format!("what similar users had: number {place} of the candidates by `{}`", bundle.manifest.model)
        }
        Why::Users { users: n, days: None } => format!("{} had it in all", users(f64::from(*n))),
        Why::Users { users: n, days: Some(days) } => {
            format!("{} had it within the last {}", users(f64::from(*n)), self::days(f64::from(*days)))
        }
        Why::Share { name, own, all } => {
            let fits = if own >= all { "fits its" } else { "its" };
            let [own, all] = [*own, *all].map(percent);
            format!("{fits} {what}: {own} of what the user had is {}, {all} of what all had", last(name))
        }
        Why::Had { name, weight } if *weight == 0.0 => format!("the user had nothing of {} yet", last(name)),
        Why::Had { name, weight } => format!("the user had {} of {}", number(*weight), last(name)),
        Why::Partner { item, lift, others } => {
            let more = match others {
                0 => String::new(),
                others => format!(", and goes with {others} more that the user had"),
            };
            let title = run::title(bundle, *item);
            format!("bought together with {title} ({lift:.1} times as often as by chance){more}")
        }
        Why::Price { price, usual } => format!("it costs {price:.2}, and the user usually pays {usual:.2}"),
        Why::Often { days, .. } => format!("the user had it on {}", self::days(f64::from(*days))),
        Why::Since { days } => format!("the user had it last {} ago", self::days(f64::from(*days))),
        Why::Lately { days, of } => {
            format!("the user had it on {} of the last {}", self::days(f64::from(*days)), number(f64::from(*of)))
        }
        Why::Due { gap, own, since } => {
            let who = if *own { "the user has it" } else { "it is had" };
            format!("{who} every {}, last {} ago", days(*gap), days(f64::from(*since)))
        }
        Why::Kept { again, users: n } => {
            format!("{} of {} had it again", grouped(u64::from(*again)), users(f64::from(*n)))
        }
        Why::Trend { window, season, days } => {
            let [short, long] = [*days, 3.0 * days].map(|days| number(f64::from(days)));
            format!(
                "{} had it within the last {short} days, {} within {long}",
                users(f64::from(*window)),
                grouped(u64::from(*season))
            )
        }
    }
}

/// The deepest level of a path.
fn last(name: &str) -> &str {
    name.rsplit(" > ").next().unwrap_or(name)
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent >= 10.0 || percent == 0.0 => format!("{percent:.0} %"),
        percent if percent >= 0.095 => format!("{percent:.1} %"),
        percent => format!("{percent:.2} %"),
    }
}

/// A whole number where it is one.
fn number(number: f64) -> String {
    if (number - number.round()).abs() < 0.05 {
        grouped(number.round().max(0.0) as u64)
    } else {
        format!("{number:.1}")
    }
}

fn count(n: f64, one: &str, more: &str) -> String {
    if n == 1.0 { format!("1 {one}") } else { format!("{} {more}", grouped(n.max(0.0) as u64)) }
}

fn users(n: f64) -> String {
    count(n, "user", "users")
}

fn days(n: f64) -> String {
    count(n.round(), "day", "days")
}
