//! The INI file and typed settings.
