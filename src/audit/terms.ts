// The words by which the audit tells groups apart and swaps one for another: lists of our own, and those of a task. Knows words; no row.

/** Groups of one kind, by the terms that name them. */
export interface TermGroups {
  attribute: string;
  /** By group: its terms, in lower case or as names are written. The nth term of a group stands for the nth of every other. */
  groups: Record<string, readonly string[]>;
}

const words = (text: string) => text.split(" ").map((word) => word.replaceAll("_", " "));

/**
 * The lists in the box. gender: pronouns, nouns of kinship and of persons. names: given names that Bertrand & Mullainathan (2004) and Caliskan
 * et al. (2017) found to be read as those of white and black Americans; first women's, then men's.
 */
export const builtInTerms: readonly TermGroups[] = [
  {
    attribute: "gender",
    groups: {
      female: words(
        "she her hers herself woman women girl girls mother mothers daughter daughters wife wives sister sisters aunt aunts niece nieces " +
          "grandmother grandmothers mom moms queen queens lady ladies actress actresses waitress waitresses female females bride brides madam " +
          "girlfriend girlfriends widow widows",
      ),
      male: words(
        "he him his himself man men boy boys father fathers son sons husband husbands brother brothers uncle uncles nephew nephews " +
          "grandfather grandfathers dad dads king kings gentleman gentlemen actor actors waiter waiters male males groom grooms sir " +
          "boyfriend boyfriends widower widowers",
      ),
    },
  },
  {
    attribute: "names",
    groups: {
      white: words(
        "Emily Anne Jill Allison Laurie Sarah Meredith Carrie Kristen Katie Greg Todd Neil Geoffrey Brett Brendan Matthew Brad Adam Frank",
      ),
      black: words(
        "Lakisha Latoya Tamika Latonya Ebony Aisha Keisha Kenya Tanisha Shaniqua Jamal Darnell Hakim Jermaine Kareem Rasheed Tremayne " +
          "Leroy Tyrone DeShawn",
      ),
    },
  },
  {
    attribute: "religion",
    groups: {
      christian: words("Christian Christians Christianity church churches Bible priest priests"),
      muslim: words("Muslim Muslims Islam mosque mosques Quran imam imams"),
      jewish: words("Jewish Jews Judaism synagogue synagogues Torah rabbi rabbis"),
      hindu: words("Hindu Hindus Hinduism temple temples Vedas pandit pandits"),
    },
  },
  {
    attribute: "age",
    groups: {
      young: words(
        "young younger youngest youth teenager teenagers teenage 25-year-old youthful adolescent adolescents",
      ),
      old: words("old older oldest age pensioner pensioners elderly 75-year-old aged senior seniors"),
    },
  },
  {
    attribute: "nationality",
    groups: {
      american: words("American Americans America"),
      mexican: words("Mexican Mexicans Mexico"),
      chinese: words("Chinese Chinese China"),
      indian: words("Indian Indians India"),
      nigerian: words("Nigerian Nigerians Nigeria"),
      german: words("German Germans Germany"),
      iranian: words("Iranian Iranians Iran"),
    },
  },
];

/**
 * Given names that many bear, of the most frequent ones of the US census of 1990, less those that are words besides. No groups of rows and no swaps: a name that is tied to an
 * answer is a finding all the same.
 */
const givenNames: Record<string, readonly string[]> = {
  female: words(
    "mary patricia linda barbara elizabeth jennifer maria susan margaret dorothy lisa nancy karen betty helen sandra donna ruth sharon michelle laura " +
      "sarah kimberly deborah jessica shirley cynthia angela melissa brenda amy anna rebecca kathleen pamela martha debra amanda stephanie carolyn",
  ),
  male: words(
    "james john robert michael william david richard charles joseph thomas christopher daniel paul donald george kenneth steven edward brian ronald " +
      "anthony kevin jason matthew gary timothy jose larry jeffrey scott eric stephen andrew raymond gregory joshua jerry dennis walter peter",
  ),
};

/**
 * What names a word (lower case): the group of a list, as "attribute: group", of the last list that has it; else "given name, female" or "given name, male"; null for
 * all others.
 */
export function namedBy(lists: readonly TermGroups[]): (term: string) => string | null {
  const known = new Map<string, string>();
  for (const [group, terms] of Object.entries(givenNames))
    for (const term of terms) known.set(term, `given name, ${group}`);
  for (const { attribute, groups } of lists)
    for (const [group, terms] of Object.entries(groups))
      for (const term of terms) known.set(term.toLowerCase(), `${attribute}: ${group}`);
  return (term) => known.get(term) ?? null;
}

/** A pattern of a list of terms: whole words, any case, the longest first. */
export function patternOf(terms: readonly string[]): RegExp {
  const escaped = [...new Set(terms)]
    .sort((a, b) => b.length - a.length)
    .map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`(?<![\\p{L}\\p{N}])(?:${escaped.join("|")})(?![\\p{L}\\p{N}])`, "giu");
}

/** Of each text the one group whose terms it mentions; null where it mentions none, or those of several groups. */
export function mentionedGroup({ groups }: TermGroups): (text: string) => string | null {
  const patterns = Object.entries(groups).map(([group, terms]) => [group, patternOf(terms)] as const);
  return (text) => {
    const found = patterns.filter(([, pattern]) => text.search(pattern) >= 0);
    return found.length === 1 ? found[0]![0] : null;
  };
}
