package vlstest

// UnderRace is underRace, for tests outside of the package.
const UnderRace = underRace
