//! `completions` and `man`: what packages install beside the program.

use super::{CliError, Console, PROGRAM, arguments};
use anyhow::Context;
use clap::Args;
use clap_complete::Shell;
use clap_mangen::Man;

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsOptions {
    /// Shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Options of `man`.
#[derive(Debug, Default, Args)]
pub struct ManOptions {
    /// Command of which to print the page, with its subcommand; by default that of the program
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Runs `completions`.
pub fn completions(
    options: &CompletionsOptions,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let mut definition = arguments::definition();
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut definition, PROGRAM, &mut script);
    console.output.write_all(&script)?;
    Ok(())
}

/// Runs `man`.
pub fn man(options: &ManOptions, console: &mut Console<'_>) -> Result<(), CliError> {
    let mut command = arguments::definition().display_name(PROGRAM);
    // Commands learn the whole of their names.
    command.build();
    for word in &options.command {
        let found = command.find_subcommand(word).cloned();
        command = found.with_context(|| format!("there is no command `{word}`"))?;
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    console.output.write_all(&page)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    fn output(run: impl FnOnce(&mut Console<'_>) -> Result<(), CliError>) -> String {
        let mut output = Vec::new();
        run(&mut Console {
            input: &mut std::io::empty(),
            output: &mut output,
        })
        .unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn completions_know_commands_and_options() {
        for shell in Shell::value_variants() {
            let options = CompletionsOptions { shell: *shell };
            let script = output(|console| completions(&options, console));
            for word in [PROGRAM, "check-config", "disable-store-log"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn a_page_for_every_command() {
        let page = |command: &[&str]| {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            output(|console| man(&ManOptions { command }, console))
        };
        let text = page(&[]);
        assert!(
            text.contains(".TH smp\\-server 1") || text.contains(".TH smp-server 1"),
            "{text}"
        );
        assert!(text.contains("check\\-config"), "{text}");
        assert!(page(&["init"]).contains("smp\\-server\\-init"));
        assert!(page(&["database", "import"]).contains("pool"));
        let options = ManOptions {
            command: vec!["run".to_owned()],
        };
        let mut console = Console {
            input: &mut std::io::empty(),
            output: &mut std::io::sink(),
        };
        assert!(man(&options, &mut console).is_err());
    }
}
