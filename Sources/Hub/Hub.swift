internal import AsyncHTTPClient
internal import Foundation

/// Models of the Hugging Face hub, in the cache that Python's tools have too.
///
/// ```swift
/// let id = HubID("stabilityai/stable-diffusion-xl-base-1.0")!
/// let folder = try await Hub().snapshot(of: id, .pipeline(variant: "fp16")) { print($0) }
/// ```
public struct Hub: Sendable {
  /// How far a download is.
  public struct Progress: Sendable, Equatable {
    /// Bytes of all files that are missing, and how many of them have come.
    public var bytes = 0
    public var total = 0
  }

  public let environment: HubEnvironment
  /// How long to wait after a first failure.
  public let backoff: Duration

  public init(_ environment: HubEnvironment = .current, backoff: Duration = .seconds(1)) {
    self.environment = environment
    self.backoff = backoff
  }

  /// The folder in the cache with the files of a selection; nil where the cache lacks one. Asks nobody, so that a variant stands
  /// in for weights that only the hub has, and files of a tokenizer of which nothing is known count as absent, as in transformers.
  public func cached(_ id: HubID, _ selection: HubSelection) async -> String? {
    try? await local(id, selection, isAll: true)
  }

  /// The folder in the cache with the files of a selection, which are fetched where they are missing.
  ///
  /// What the cache has is used as it is, without asking for something newer; but another variant than the one asked for, or a
  /// tokenizer without a file that it may have, only where its commit has nothing better or the hub does not answer. What came
  /// before an error stays and need not come again.
  ///
  /// - Parameter report: hears of the download.
  /// - Throws: `HubError`; `CancellationError` when the task is cancelled.
  public func snapshot(
    of id: HubID, _ selection: HubSelection, report: @escaping @Sendable (Progress) -> Void = { _ in }
  ) async throws -> String {
    if let folder = try? await local(id, selection, isAll: false) { return folder }
    guard !environment.isOffline else {
      if let folder = await cached(id, selection) { return folder }
      throw try await offline(id, selection, cause: "HF_HUB_OFFLINE forbids to fetch it")
    }
    let configuration: HTTPClient.Configuration
    do {
      configuration = try HubServer.configuration(through: environment.proxy, for: id)
    } catch {
      if let folder = await cached(id, selection) { return folder }
      throw error
    }
    return try await HTTPClient.withHTTPClient(configuration: configuration) { client in
      let server = HubServer(client: client, id: id, environment: environment, backoff: backoff)
      let listing: HubListing
      do {
        listing = try await self.listing(from: server, selection)
      } catch let error as HubError {
        if let folder = await cached(id, selection) { return folder }
        guard case .unreachable(let cause, let address) = error.reason else { throw error }
        throw try await offline(id, selection, cause: "\(address) could not be reached (\(cause))")
      }
      let download = HubDownload(server: server, listing: listing, cache: HubCache(id, root: environment.cache))
      return try await download.run(selection, report)
    }
  }

  /// What the repository has: at the commit that the cache has whole but for files of which nobody has asked whether they are there, so
  /// that a model in use is no other one tomorrow; else at the newest one.
  private func listing(from server: HubServer, _ selection: HubSelection) async throws -> HubListing {
    let cache = HubCache(server.id, root: environment.cache)
    if let commit = cache.commit {
      let plan = try? await HubPlan(selection, of: CachedFiles(cache: cache, commit: commit, isAll: false))
      if plan?.missing.isEmpty == true {
        do {
          return try await server.listing(of: commit)
        } catch let error as HubError where error.reason == .notFound(endpoint: environment.endpoint) {
          // The commit is gone from the hub.
        }
      }
    }
    return try await server.listing()
  }

  /// The error that names what is missing.
  private func offline(_ id: HubID, _ selection: HubSelection, cause: String) async throws -> HubError {
    let cache = HubCache(id, root: environment.cache)
    let plan = try await HubPlan(selection, of: CachedFiles(cache: cache, commit: cache.commit ?? "none", isAll: true))
    return HubError(
      id: id, reason: .offline(cause: cause, missing: plan.missing, advice: plan.advice, folder: environment.cache))
  }

  /// A snapshot that has everything.
  private func local(_ id: HubID, _ selection: HubSelection, isAll: Bool) async throws -> String? {
    let cache = HubCache(id, root: environment.cache)
    guard let commit = cache.commit else { return nil }
    let files = CachedFiles(cache: cache, commit: commit, isAll: isAll)
    let plan = try await HubPlan(selection, of: files)
    return plan.missing.isEmpty && (isAll || plan.unsettled.isEmpty) ? files.folder : nil
  }
}

/// Fills a snapshot with the files of one commit.
struct HubDownload {
  let server: HubServer
  let listing: HubListing
  let cache: HubCache

  /// - Returns: the snapshot's folder.
  func run(_ selection: HubSelection, _ report: @escaping @Sendable (Hub.Progress) -> Void) async throws -> String {
    let plan: HubPlan
    do {
      plan = try await HubPlan(selection, of: RemoteFiles(download: self))
    } catch is DecodingError {
      throw HubError(id: cache.id, reason: .malformedListing("model_index.json, or an index of weights, is none"))
    }
    guard plan.missing.isEmpty else {
      throw HubError(id: cache.id, reason: listing.reason(lacking: plan.missing, for: selection))
    }
    func isMissing(_ name: String) -> Bool { listing.files[name].map { !cache.has($0.hash) } ?? false }
    var progress = Hub.Progress()
    progress.total = plan.files.filter(isMissing).compactMap { listing.files[$0]?.size }.reduce(0, +)
    for name in plan.files {
      let (before, size) = (progress, isMissing(name) ? listing.files[name]?.size ?? 0 : 0)
      try await get(name) { report(Hub.Progress(bytes: before.bytes + $0, total: before.total)) }
      progress.bytes += size
    }
    for name in plan.absent { try cache.rememberAbsence(of: name, in: listing.commit) }
    try cache.remember(listing.commit)
    return cache.snapshot(listing.commit)
  }

  /// Puts one file into the snapshot.
  fileprivate func get(_ name: String, _ report: @Sendable (Int) -> Void = { _ in }) async throws {
    guard let file = listing.files[name] else { throw HubError(id: cache.id, reason: .lacks([name])) }
    try await cache.locked(file.hash) { partial in
      if !cache.has(file.hash) {
        try await server.download(name, file, at: listing.commit, to: partial, report: report)
        try cache.publish(partial, as: file.hash)
      }
    }
    try cache.link(name, of: listing.commit, to: file.hash)
  }
}

/// A repository whose small files are fetched when they are looked at.
private struct RemoteFiles: HubFiles {
  let download: HubDownload
  let isAll = true

  func presence(of name: String) -> HubPresence { download.listing.files[name] != nil ? .here : .absent }

  func data(_ name: String) async throws -> Data {
    try await download.get(name)
    return try CachedFiles(cache: download.cache, commit: download.listing.commit, isAll: false).data(name)
  }
}
