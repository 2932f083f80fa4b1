//! `codraft`: the one command people type.

mod cluster;
mod config;
mod dev;
mod files;
mod init;
mod layout;
mod memory;
mod operator;
mod outside;
mod process;
mod quarantine;
mod replace;
mod scrape;
mod signals;
mod strip;
mod supervisor;
mod token;
mod verify;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// A backend for documents that many people edit at once.
#[derive(Parser)]
#[command(name = "codraft", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a durable cluster on this machine, with a page to edit in.
    Dev(dev::DevArgs),
    /// Write the files of a new cluster.
    Init(init::InitArgs),
    /// Run one node, or put one in another's place.
    Node(process::NodeArgs),
    /// Run one router.
    Router(process::RouterArgs),
    /// Make a token for a user.
    Token(token::TokenArgs),
    /// Show and lift quarantines of documents.
    Quarantine(quarantine::QuarantineArgs),
    /// Prove what nodes keep from their files, or check a receipt.
    Verify(verify::VerifyArgs),
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        Verb::Init(args) => init::run(&args)?,
        Verb::Token(args) => token::run(&args)?,
        Verb::Quarantine(args) => runtime()?.block_on(quarantine::run(args))?,
        Verb::Verify(args) => return Ok(runtime()?.block_on(verify::run(args))),
        Verb::Dev(args) => runtime()?.block_on(dev::run(args))?,
        Verb::Node(process::NodeArgs {
            verb: Some(process::NodeVerb::Replace(args)),
            ..
        }) => runtime()?.block_on(replace::run(args))?,
        Verb::Node(args) => {
            process::log();
            return Ok(ended(
                &runtime()?.block_on(memory::tended(process::node(args))),
            ));
        }
        Verb::Router(args) => {
            process::log();
            return Ok(ended(
                &runtime()?.block_on(memory::tended(process::router(args))),
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a service ended is a line of its log like any other, where those who watch it look.
fn ended(result: &Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One thread a process: on small machines a second one costs more than it brings
/// (ARCHITECTURE.md, "One thread").
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}
