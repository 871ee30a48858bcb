//! `writing`: what the writing path has to show, and whether it does.

mod cases;
mod rows;

use kvlogdb::EngineKind;
use kvlogdb_benches::Session;
use kvlogdb_compare::{Counting, Plan, Result, Settings};

use rows::{ROWS, Sizes};

/// What `writing` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    session: Session,
    /// Short measurements and small logs: to see that it runs.
    #[arg(long)]
    quick: bool,
    /// Only these rows; all unless named.
    #[arg(long, value_name = "ROW", value_delimiter = ',', value_parser = parse_row)]
    only: Vec<&'static str>,
    /// Only these engines; all unless named.
    #[arg(long, value_name = "ENGINE", value_delimiter = ',', value_parser = parse_engine)]
    engine: Vec<EngineKind>,
}

fn parse_row(name: &str) -> Result<&'static str, String> {
    let known = ROWS.iter().copied().find(|row| *row == name);
    known.ok_or_else(|| format!("the rows are {}", ROWS.join(", ")))
}

fn parse_engine(name: &str) -> Result<EngineKind, String> {
    name.parse().map_err(|error: kvlogdb::EngineError| error.to_string())
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let sizes = Sizes::new(args.quick);
    let engines =
        if args.engine.is_empty() { EngineKind::available() } else { args.engine.clone() };
    let plan = Plan {
        rows: rows::all(&sizes, &engines, &args.only),
        seed: args.session.seed,
        settings: Settings::default(),
        budget: None,
        counting: Counting::Durable,
    };
    let record = args.session.record("The writing path", plan, &[])?;
    args.session.report(&record, &|style| cases::table(&record, &sizes, style))
}
