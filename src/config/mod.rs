//! The INI file and typed settings (spec: operations §2).
//!
//! [`keys`] is the one table of what may be configured. [`settings`] reads an [`ini`] file
//! through it, with the parsers of [`values`]; [`template`] writes a fresh file from it,
//! and [`document`] the page about it.

pub mod document;
pub mod ini;
pub mod keys;
pub mod settings;
pub mod template;
pub mod values;

pub use settings::{Settings, SettingsError};

/// Name of the configuration file in the configuration directory.
pub const INI_FILE: &str = "smp-server.ini";
