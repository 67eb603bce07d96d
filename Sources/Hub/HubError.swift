/// Why a model cannot be had from the hub.
public struct HubError: Error, CustomStringConvertible, Equatable {
  public enum Reason: Equatable, Sendable {
    /// Nothing may or can be fetched; what the cache lacks, and names and patterns of all that is to be fetched.
    case offline(cause: String, missing: [String], advice: [String], folder: String)
    case unauthorized(hasToken: Bool, endpoint: String)
    /// The token has characters that no header may have. It is a secret and not told.
    case malformedToken(endpoint: String)
    case notFound(endpoint: String)
    case status(Int, address: String)
    case unreachable(String, address: String)
    case unsupportedProxy(String)
    /// The repository has not what a model of the kind asked for consists of; but perhaps the same in one file, which an option takes.
    case lacks([String], hasPickles: Bool = false, singleFiles: [String] = [], option: String = "")
    case malformedListing(String)
    case unsafeName(String)
    case wrongLength(file: String, found: String, expected: Int)
    case wrongContent(file: String, expected: String)
    case unwritable(path: String, reason: String)
  }

  public let id: HubID
  public let reason: Reason

  public var description: String {
    switch reason {
    case .offline(let cause, let missing, let advice, let folder):
      """
      \(id): no such folder or file here; \(cause), and the cache (\(folder)) lacks
      \(missing.map { "    \($0)" }.joined(separator: "\n"))
      Fetch them\(advice == missing ? "" : ", and what else the model may have,") where there is a connection, with the same \
      command, or with
          \(download(advice))
      """
    case .unauthorized(let hasToken, let endpoint):
      "\(id): there is no such model at \(endpoint), or it is private or gated. "
        + (hasToken
          ? "The token in use does not open it: accept its terms at \(endpoint)/\(id.repository) or use another token in HF_TOKEN"
          : "Accept its terms at \(endpoint)/\(id.repository) and give a token in HF_TOKEN (\(endpoint)/settings/tokens)")
    case .malformedToken(let endpoint):
      "\(id): the token in HF_TOKEN, or in the file where Python keeps it, is none: it has other characters than the visible ones of "
        + "ASCII; copy it again from \(endpoint)/settings/tokens"
    case .notFound(let endpoint):
      "\(id): there is no such folder or file here, and no such model or revision at \(endpoint); is it spelled as there?"
    case .status(let code, let address):
      "\(id): \(address) answered with the status \(code), several times if it may pass; try again later"
    case .unreachable(let cause, let address):
      "\(id): \(address) could not be read: \(cause); what was fetched is kept, try again"
    case .unsupportedProxy(let proxy):
      "\(id): the proxy \(proxy) cannot be used; expected http://[USER:PASSWORD@]HOST[:PORT] or socks5://HOST[:PORT]: set the "
        + "variable to another one, or name the hub's host in NO_PROXY if it can be reached without"
    case .lacks(let files, let hasPickles, let singleFiles, let option):
      "\(id): not a model that can be used here; its repository lacks \(files.joined(separator: ", "))"
        + (hasPickles
          ? ". Weights that are pickles (.bin) are not read: load them in Python where you trust them, save_pretrained makes a "
            + "folder that can be used"
          : "") + alternatives(singleFiles, option)
    case .malformedListing(let problem): "\(id): the hub's list of files is not as expected: \(problem)"
    case .unsafeName(let name):
      "\(id): \(String(reflecting: name)) is no name of a file inside the repository; nothing was written"
    case .wrongLength(let file, let found, let expected):
      "\(id): \(file) has \(expected) bytes, but \(found) came; is something between here and the hub that answers in its place?"
    case .wrongContent(let file, let expected):
      "\(id): \(file) came with another content than the hub promises (\(expected)); it was removed, try again"
    case .unwritable(let path, let reason): "\(id): \(path) cannot be written: \(reason)"
    }
  }

  private func alternatives(_ files: [String], _ option: String) -> String {
    guard let first = files.first else { return "" }
    let (shown, rest) = (files.prefix(8).joined(separator: ", "), files.count - 8)
    return """
      . It has \(shown)\(rest > 0 ? " and \(rest) more" : "") at its top: if one of them is what you want, fetch it, such as with
          \(download([first]))
      and give the path that this prints with \(option)
      """
  }

  /// The command of huggingface_hub that fetches files; it passes over those of several that the repository lacks.
  private func download(_ files: [String]) -> String {
    let safe = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/")
    // Names are the repository's, and the line is for a shell.
    let quoted = files.map { $0.allSatisfy(safe.contains) ? $0 : "'\($0.replacing("'", with: "'\\''"))'" }
    return "hf download \(id.repository) --revision \(id.revision) \(quoted.joined(separator: " "))"
  }
}
