package core

// Check is the configuration with its defaults filled in, for a strategy that
// makes no [App] of it. The error names the field that is out of range.
func (c Config) Check() (Config, error) { return c.withDefaults() }
