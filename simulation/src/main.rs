//! Simulates a whole cluster in one thread, from one seed, the same every time.

mod client;
mod cluster;
mod commands;
mod convert;
mod faults;
mod marks;
mod memory;
mod naive;
mod operator;
mod oracles;
mod outside;
mod overrides;
mod plan;
mod prices;
mod proof;
mod record;
mod recorder;
mod settle;
mod setup;
mod shared;
mod socket;
mod taps;
mod tools;
mod trace;
mod tracer;
mod turns;
mod verdict;
mod world;

use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(about, version)]
enum Command {
    /// Runs one simulation and prints what it came to on one line.
    Run(commands::run::Args),
    /// Runs a saved plan.
    Replay(commands::replay::Args),
    /// Prints the plan of a seed.
    Plan(commands::plan::Args),
    Meta(tools::meta::Meta),
    Soak(tools::soak::Soak),
    Shrink(tools::shrink::Shrink),
    Mutants(tools::mutants::Mutants),
    Figures(tools::figures::Figures),
    Report(tools::report::Report),
    Scenarios(tools::scenarios::Scenarios),
    Prices(prices::Prices),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Run(args) => commands::run::main(&args),
        Command::Replay(args) => commands::replay::main(&args),
        Command::Plan(args) => commands::plan::main(&args),
        Command::Meta(args) => args.run().map(code),
        Command::Soak(args) => args.run().map(code),
        Command::Shrink(args) => args.run().map(code),
        Command::Mutants(args) => args.run().map(code),
        Command::Figures(args) => args.run().map(code),
        Command::Report(args) => args.run().map(code),
        Command::Scenarios(args) => args.run().map(code),
        Command::Prices(args) => Ok(args.run()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(tools::CANNOT as u8)
    })
}

fn code(held: bool) -> ExitCode {
    match held {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
